"""A small problem set labelled end to end with the real vLLM."""

from pathlib import Path

import pytest

from erprm.engines import Sampling
from erprm.engines.vllm import VllmEngine
from erprm.grading import GraderPool
from erprm.problems import Problem
from erprm.rollouts.run import LabelOptions, label
from erprm.rows import StepRow, read_rows

pytestmark = [pytest.mark.vllm, pytest.mark.xdist_group("vllm")]


def test_labelling_gives_counts_and_a_second_run_samples_nothing(vllm_engine: VllmEngine, tmp_path: Path) -> None:
    problems = [Problem(str(number), f"{number}+3*4?", str(number + 12), grader="numeric") for number in range(4)]
    rows = [StepRow(problem.question, ("3*4=12", f"{number}+12={number + 12}", f"The answer is {problem.answer}"),
                    problem_id=problem.id) for number, problem in enumerate(problems)]
    with GraderPool(workers=1) as grader:
        first = label(problems, rows, vllm_engine, Sampling(max_tokens=8), tmp_path, grader, LabelOptions(n=3))
        written = list(read_rows(tmp_path / "rows.parquet"))
        assert [row.trials for row in written] == [(3, 3, 1)] * 4
        assert [row.outcome for row in written] == [1.0] * 4
        second = label(problems, rows, vllm_engine, Sampling(max_tokens=8), tmp_path, grader, LabelOptions(n=3))
    assert first.completions == second.restored == 24
    assert second.completions == 0
    assert list(read_rows(tmp_path / "rows.parquet")) == written
