"""Completions with rewards between 0 and 1: kept in the store, in the rows, and what needs counts says so."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tiny

from erprm.cli import main
from erprm.engines import Completion, Request, Sampling
from erprm.errors import InputError
from erprm.grading import GraderPool
from erprm.grading.composite import CompositePool
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.training.encode import encode_dataset
from erprm.problems import Problem, load_problems
from erprm.rollouts.finding import FirstErrors
from erprm.rollouts.run import LabelOptions, label
from erprm.rollouts.sample import sample_solutions
from erprm.rollouts.store import GRADED, SCHEMA, read_parts
from erprm.rows import StepRow, read_rows, write_rows
from erprm.values import soft_rewards
from erprm.values.spec import TargetSpec

PROBLEMS = load_problems("reasoning-gym:knights_knaves?size=3&seed=5&n_people=3")


def partly(problem: Problem) -> str:
    """An answer with one of three islanders wrong."""
    roles = problem.metadata["knight_knave_terms"]
    last = problem.answer.rpartition(" ")[2].removesuffix(".")
    other = roles["knave"] if last == roles["knight"] else roles["knight"]
    return f"{problem.answer.removesuffix(last + '.')}{other}."


class Puzzler:
    """Writes the right answer, one that is partly right, and nothing, in turn, by the sample's number."""

    def __init__(self) -> None:
        self.asked = 0

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "puzzler 1"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        by_question = {problem.question: problem for problem in PROBLEMS}
        result = []
        for request in requests:
            problem = by_question[request.question]
            turns = (problem.answer, partly(problem), "no idea")
            result.append([Completion(f"hm\n{turns[(self.asked + i) % 3]}", "stop", 4) for i in range(request.n)])
            self.asked += request.n
        return result

    def close(self) -> None:
        pass


def solutions() -> list[StepRow]:
    return [StepRow(problem.question, ("first", "second", partly(problem)), problem_id=problem.id)
            for problem in PROBLEMS]


def test_a_task_with_partial_credit_from_the_policy_to_the_targets(tmp_path: Path) -> None:
    engine, options = Puzzler(), LabelOptions(6, splitter="newline", part_completions=6)
    with GraderPool(workers=1, graded=True) as grader:
        report = label(PROBLEMS, solutions(), engine, Sampling(max_tokens=9), tmp_path / "labels", grader, options)
        again = label(PROBLEMS, solutions(), engine, Sampling(max_tokens=9), tmp_path / "labels", grader, options)
    assert (again.restored, again.completions) == (report.completions, 0)
    rows = list(read_rows(report.rows))
    for row in rows:
        assert row.rewards is not None
        some = sorted(set(row.rewards[0]))
        assert len(some) == 3
        assert some[::2] == [0.0, 1.0]
        assert 0.0 < some[1] < 1.0
        assert row.trials == (0, 0, 0)
        assert row.outcome == some[1]
        assert row.rewards[2] == ()
    first = np.array(rows[0].rewards[0])
    assert TargetSpec("soft").of_row(rows[0])[0] == pytest.approx(first.mean())
    assert TargetSpec("er", 3.0, "jackknife").of_row(rows[0])[0] == pytest.approx(
        float(soft_rewards(first, [0, 6], 3.0, "jackknife", clip=True)[0]))
    assert TargetSpec("hard", threshold=0.9).of_row(rows[0])[:2].tolist() == [1.0, 1.0]
    dataset, encoded = encode_dataset(rows, tiny.tokenizer(), StepTokens.from_tokenizer(tiny.tokenizer()),
                                      target=TargetSpec("er", 2.0), max_length=4096)
    assert encoded.labelled == 9
    np.testing.assert_allclose(dataset.target_values(TargetSpec("er", 2.0)),
                               np.concatenate([TargetSpec("er", 2.0).of_row(row) for row in rows]))
    with pytest.raises(InputError, match="found graded rewards"):
        dataset.counts()


def test_steps_whose_rewards_are_0_and_1_keep_counts_and_strict_stores_stay_as_they_were(tmp_path: Path) -> None:
    class Sure(Puzzler):
        def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
            by_question = {problem.question: problem for problem in PROBLEMS}
            return [[Completion(by_question[request.question].answer if i % 2 else "no", "stop", 2)
                     for i in range(request.n)] for request in requests]

    options = LabelOptions(4, splitter="newline")
    counts = {}
    for name, graded in (("graded", True), ("strict", False)):
        with GraderPool(workers=1, graded=graded) as grader:
            report = label(PROBLEMS, solutions(), Sure(), Sampling(max_tokens=9), tmp_path / name, grader, options)
        rows = list(read_rows(report.rows))
        assert all(row.rewards is None for row in rows)
        counts[name] = [row.successes[:2] for row in rows if row.successes] + [row.trials[:2] for row in rows]
        table = pa.concat_tables(read_parts(tmp_path / name))
        assert table.schema == (GRADED if graded else SCHEMA)
        assert set(pa.concat_tables(read_parts(tmp_path / name, ["reward"]))["reward"].to_pylist()) == {0.0, 1.0}
    assert counts["graded"] == counts["strict"] == [(2, 2)] * 3 + [(4, 4)] * 3
    with GraderPool(workers=1, graded=True) as grader, pytest.raises(InputError, match="reward"):
        label(PROBLEMS, solutions(), Sure(), Sampling(max_tokens=9), tmp_path / "strict", grader, options)


@pytest.mark.parametrize(("options", "says"), [
    (LabelOptions(adaptive=FirstErrors()), "a rule"), (LabelOptions(count_passing=True), "--count-passing"),
    (LabelOptions(count_own_outcome=True), "--count-own-outcome"), (LabelOptions(contrast=2), "--contrast")])
def test_what_counts_right_completions_refuses_graded_ones(options: LabelOptions, says: str, tmp_path: Path) -> None:
    with GraderPool(workers=1, graded=True) as grader, pytest.raises(InputError, match=f"strict rewards with {says}"):
        label(PROBLEMS, solutions(), Puzzler(), Sampling(max_tokens=9), tmp_path / "labels", grader, options)


def test_weights_change_without_sampling_again(tmp_path: Path) -> None:
    engine, totals = Puzzler(), []
    for weights in ("accuracy*0.8 + format*0.2", "accuracy*0.5 + format*0.5"):
        with CompositePool(weights, format_pattern="hm.*is.*", workers=1) as grader:
            report = sample_solutions(PROBLEMS, engine, Sampling(max_tokens=9), tmp_path / "solutions.jsonl", grader,
                                      n=3)
        assert "rewards by part: accuracy" in str(report)
        totals.append([row.outcome for row in read_rows(tmp_path / "solutions.jsonl")])
    assert engine.asked == 9
    assert totals[0][0] == totals[1][0] == 1.0
    middle = totals[0][1]
    assert totals[1][1] == pytest.approx(0.5 * (middle - 0.2) / 0.8 + 0.5)
    assert totals[0][2] == totals[1][2] == 0.0
    with CompositePool("accuracy*0.8 + length*0.2", length_limit=9, workers=1) as grader, \
            pytest.raises(InputError, match=r"grader\.parts"):
        sample_solutions(PROBLEMS, engine, Sampling(max_tokens=9), tmp_path / "solutions.jsonl", grader, n=3)


def test_the_command_grades_by_an_expression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [StepRow("2+2?", ("<think>easy</think>", "#### 4"), problem_id="p"), StepRow("2+2?", ("#### 4",),
                                                                                         problem_id="p")]
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "problems.jsonl").write_text('{"id": "p", "question": "2+2?", "answer": "4", "grader": "numeric"}\n')
    argv = ["grade", "--rows", str(tmp_path / "rows.jsonl"), "--problems", str(tmp_path / "problems.jsonl"), "--out",
            str(tmp_path / "out.jsonl"), "--workers", "1"]
    assert main([*argv, "--grader", "accuracy*0.8+format*0.2", "--format-pattern", "<think>.*</think>.*"]) in (0, None)
    assert [row.outcome for row in read_rows(tmp_path / "out.jsonl")] == pytest.approx([1.0, 0.8])
    assert main([*argv, "--grader", "accuracy*0.8+fluency*0.2"]) == 2
    assert "found 'fluency'" in capsys.readouterr().err
    assert main([*argv, "--length-limit", "9"]) == 2
    assert "length_limit: expected a --grader that uses it" in capsys.readouterr().err
