"""Judges of steps and their consensus with Monte Carlo, through the commands, on tasks whose truth is known."""

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest

from erprm.cli import main
from erprm.judging.verdicts import first_wrong, verdict_row
from erprm.problems import Problem, write_problems
from erprm.problems.tasks import TASKS
from erprm.rows import StepRow, read_rows, write_rows

Solutions = list[tuple[Problem, StepRow, int | None]]


@pytest.fixture(scope="module")
def solutions() -> Solutions:
    """(problem, a solution that may go wrong, its first wrong step), for every task."""
    rng, found = random.Random(5), []
    for name, one in TASKS.items():
        for number, problem in enumerate(one.splits({"all": 12}, 1)["all"]):
            steps = one.demonstrate(problem.metadata, rng, 0.3)
            assert steps is not None
            wrong = one.first_wrong(problem.metadata, steps)
            row = StepRow(problem.question, tuple(steps), problem_id=problem.id, solution_id=f"{name}/{number}",
                          outcome=float(wrong is None))
            found.append((problem, row, wrong))
    return found


@pytest.fixture
def folder(tmp_path: Path, solutions: Solutions, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_problems("problems.jsonl", [problem for problem, _, _ in solutions])
    write_rows("rows.parquet", [row for _, row, _ in solutions])
    return tmp_path


def judge(*words: str) -> int:
    return main(["judge", "--rows", "rows.parquet", "--out", "verdicts.parquet", *words])


def test_the_program_says_each_first_wrong_step(folder: Path, solutions: Solutions,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    assert judge("--problems", "problems.jsonl") == 0
    verdicts = list(read_rows("verdicts.parquet"))
    assert [first_wrong(verdict) for verdict in verdicts] == [wrong for _, _, wrong in solutions]
    assert [verdict.solution_id for verdict in verdicts] == [row.solution_id for _, row, _ in solutions]
    assert f"a wrong step in {sum(wrong is not None for _, _, wrong in solutions)}" in capsys.readouterr().out


def test_verdicts_go_to_processbench_and_come_back(folder: Path, solutions: Solutions) -> None:
    assert judge("--problems", "problems.jsonl") == 0
    assert main(["convert", "--from", "erprm", "--to", "processbench", "--input", "verdicts.parquet",
                 "--out", "bench.jsonl"]) == 0
    Path("verdicts.parquet").unlink()
    assert judge("--judge", "file", "--verdicts", "bench.jsonl", "--format", "processbench") == 0
    assert [first_wrong(verdict) for verdict in read_rows("verdicts.parquet")] == [wrong for _, _, wrong in solutions]


def test_what_cannot_be_judged_is_counted(folder: Path, solutions: Solutions,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row for _, row, _ in solutions]
    strange = Problem("other-1", "Why?", "42")
    write_problems("problems.jsonl", [*(problem for problem, _, _ in solutions[1:]), strange])
    write_rows("rows.parquet", [*rows, StepRow("Why?", ("42",), problem_id="other-1")])
    assert judge("--problems", "problems.jsonl") == 0
    said = capsys.readouterr().out
    assert "1 without a problem" in said
    assert "1 of tasks without a step checker" in said
    assert len(list(read_rows("verdicts.parquet"))) == len(rows) - 1


def counted(row: StepRow, wrong: int | None, said: int | None = None) -> StepRow:
    """The row with counts in which no completion is right from step `said` (`wrong` by default) on."""
    falls = len(row.steps) if (said if said is not None else wrong) is None else (said if said is not None else wrong)
    k = tuple(3 if number < falls else 0 for number in range(len(row.steps)))
    return dataclasses.replace(row, successes=k, trials=(8,) * len(k))


@pytest.mark.parametrize("more", [(), ("--confidence", "0.5")])
def test_rows_that_agree_are_kept_and_the_others_counted(folder: Path, solutions: Solutions, more: tuple[str, ...],
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    assert judge("--problems", "problems.jsonl") == 0
    late = [(row, wrong) for _, row, wrong in solutions if wrong is not None and 1 <= wrong < len(row.steps) - 1]
    clean = [(row, wrong) for _, row, wrong in solutions if wrong is None]
    assert len(late) > 5
    rows = [counted(row, wrong) for row, wrong in [*late, *clean]]
    rows += [counted(row, wrong, wrong - 1) for row, wrong in late]  # type: ignore[operator]
    rows += [clean[0][0]]
    write_rows("labelled.parquet", rows)
    words = ["filter", "--rows", "labelled.parquet", "--consensus", "verdicts.parquet", "--out", "agreed.parquet",
             *more]
    assert main(words) == 0
    said = capsys.readouterr().out
    kept = list(read_rows("agreed.parquet"))
    assert kept == rows[:len(kept)]
    assert len(kept) == len(late) + len(clean)
    assert f"{len(late)} dropped: the two disagree" in said
    assert "1 dropped: no counts" in said
    assert main([*words, "--distance", "1"]) == 0
    assert len(list(read_rows("agreed.parquet"))) == 2 * len(late) + len(clean)
    assert main([*words, "--weight", "0.3"]) == 0
    assert f"{len(late)} weighted 0.3: the two disagree" in capsys.readouterr().out
    others = [dataclasses.replace(row, weight=0.3) for row in rows[len(kept):]]
    assert list(read_rows("agreed.parquet")) == kept + others


@pytest.mark.parametrize(("words", "says"), [
    (["judge", "--rows", "rows.parquet", "--out", "v.parquet"], "expected --problems"),
    (["judge", "--rows", "rows.parquet", "--out", "v.parquet", "--judge", "file"], "expected --verdicts"),
    (["judge", "--rows", "rows.parquet", "--out", "v.parquet", "--judge", "llm"], "expected --policy"),
    (["judge", "--rows", "rows.parquet", "--out", "v.parquet", "--judge", "oracle"], "program, file, llm"),
    (["filter", "--rows", "rows.parquet", "--consensus", "rows.parquet", "--out", "v.parquet"], "expected labels"),
    (["filter", "--rows", "rows.parquet", "--consensus", "rows.parquet", "--out", "v.parquet", "--distance", "-1"],
     "at least 0"),
    (["filter", "--rows", "rows.parquet", "--consensus", "rows.parquet", "--out", "v.parquet", "--weight", "2"],
     "at most 1"),
])
def test_what_is_missing_is_one_line(folder: Path, words: list[str], says: str,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not Path("v.parquet").exists()


def test_a_verdict_beyond_the_steps_or_two_that_differ_are_refused(folder: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    row = StepRow("1+1?", ("1+1=2", "so 3"), solution_id="a")
    with pytest.raises(ValueError, match="from 0 to 1, found 2"):
        verdict_row(row, 2)
    write_rows("rows.parquet", [row])
    write_rows("both.parquet", [verdict_row(row, 1), verdict_row(row, None)])
    assert judge("--judge", "file", "--verdicts", "both.parquet") == 2
    assert "found 1 and None on 'a'" in capsys.readouterr().err


def test_labels_of_a_verdict_are_one_before_zero_at_and_none_behind() -> None:
    row = StepRow("q", ("a", "b", "c"))
    assert verdict_row(row, 1).labels == (1.0, 0.0, None)
    assert verdict_row(row, None).labels == (1.0, 1.0, 1.0)
    assert np.isnan([np.nan if label is None else label for label in verdict_row(row, 0).labels or ()]).sum() == 2
