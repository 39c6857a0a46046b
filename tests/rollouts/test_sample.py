"""Solutions from a policy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from erprm.engines import Completion, Request, Sampling
from erprm.errors import InputError
from erprm.grading import GraderPool
from erprm.grading.extraction import Extraction
from erprm.rollouts.sample import sample_solutions
from erprm.rows import read_rows

from .coin import CoinEngine, problems


def test_every_problem_gets_n_rows_and_more_only_adds(tmp_path: Path) -> None:
    out = tmp_path / "solutions.parquet"
    with GraderPool(workers=1) as grader:
        sample_solutions(problems(5), CoinEngine(), Sampling(), out, grader, n=4, part_completions=3)
        first = list(read_rows(out))
        report = sample_solutions(problems(5), engine := CoinEngine(), Sampling(), out, grader, n=6)
    rows = list(read_rows(out))
    assert [row.solution_id for row in rows] == [f"p{i}/{j}" for i in range(5) for j in range(6)]
    assert [row for row in rows if int(row.solution_id[-1]) < 4] == first
    assert (report.restored, engine.asked) == (20, 10)
    for row in rows:
        assert row.steps == ("so", f"#### {row.answer}")
        assert row.outcome == (row.answer == "7")
        assert row.finished
        assert row.gold == "7"
    assert 0 < sum(row.outcome for row in rows) < 30


def test_a_mark_of_its_own_is_read_counted_and_remembered(tmp_path: Path) -> None:
    """Without the pattern every solution is wrong, and the report says why; a store that was graded so is not mixed."""
    class Marked(CoinEngine):
        def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
            return [[replace(one, text=one.text.replace("####", "A:")) for one in drawn]
                    for drawn in super().sample(requests, sampling)]

    with GraderPool(workers=1) as grader:
        report = sample_solutions(problems(3), Marked(), Sampling(), tmp_path / "out.jsonl", grader, n=2)
    assert (report.right, report.answered.without, report.answered.texts) == (0, 6, 6)
    assert "warning: 100% of the solutions count as wrong" in str(report)
    with GraderPool(workers=1, extraction=Extraction(answer_pattern="A: (.*)")) as grader:
        with pytest.raises(InputError, match=r"answer_pattern: store has none, asked for A: \(\.\*\)"):
            sample_solutions(problems(3), Marked(), Sampling(), tmp_path / "out.jsonl", grader, n=2)
        report = sample_solutions(problems(3), Marked(), Sampling(), tmp_path / "other.jsonl", grader, n=2)
    assert "0 of 6 solutions (0.0%) state no final answer" in str(report)
    assert {row.outcome == (row.answer == "7") for row in read_rows(tmp_path / "other.jsonl")} == {True}
