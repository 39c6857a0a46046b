"""Completions that pass through longer prefixes count there too: against a plain recount of the store, and resumed."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from erprm.engines import Completion, Request, Sampling
from erprm.grading import GraderPool
from erprm.rollouts.accuracy import Accurate
from erprm.rollouts.allocation import Adaptive
from erprm.rollouts.report import LabelReport
from erprm.rollouts.run import LabelOptions, label
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows

from .coin import CoinEngine, problems, row

# "left" ends a solution in rows 1 and 4, and others go on from it: as an end it is closed, as a prefix open.
ROWS = [row(0, "left", "right", "left", "#### 7"), row(0, "left", outcome=0.0),
        row(0, "left", "left", "#### 8", outcome=0.0), row(0, "right", "left", "#### 7"),
        row(1, "left", outcome=0.0), row(1, "left", "left", outcome=0.0, finished=False)]


class Walk(CoinEngine):
    """Steps "left" and "right" at random, three in all, and an answer; one in eight is cut off before the end."""

    def __init__(self, batches: int = 10**9) -> None:
        super().__init__()
        self.batches = batches

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        self.batches -= 1
        if self.batches < 0:
            raise KeyboardInterrupt
        return [[self._walk(request, i) for i in range(request.n)] for request in requests]

    def _walk(self, request: Request, i: int) -> Completion:
        self.asked += 1
        bits = hashlib.blake2b(f"{request.seed + i}".encode(), digest_size=8).digest()
        steps = ["left" if bit % 2 else "right" for bit in bits[: 3 - request.prefix.count("\n")]]
        whole = bits[7] % 8 > 0
        return Completion("\n".join([*steps, f"#### {7 + bits[6] % 2}"][: 4 if whole else -1]),
                          "stop" if whole else "length", 5)


def run(place: Path, rows: list[StepRow] = ROWS, engine: CoinEngine | None = None,
        **options: object) -> tuple[LabelReport, list[StepRow]]:
    with GraderPool(workers=1) as grader:
        report = label(problems(2), rows, engine or Walk(), Sampling(max_tokens=8), place, grader,
                       LabelOptions(**options))  # type: ignore[arg-type]
    return report, list(read_rows(place / "rows.parquet"))


def recount(place: Path) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """(completions sampled, trials, successes) of every text that is a prefix of solutions or completions."""
    sampled, trials, successes = Counter(), Counter(), Counter()  # type: ignore[var-annotated]
    found = {(r["prefix_id"], r["sample"]): r for table in read_parts(place) for r in table.to_pylist()}
    for r in found.values():
        sampled[r["problem_id"], r["prefix"]] += 1
        whole = r["prefix"] + r["text"]
        for end in [i + 1 for i, letter in enumerate(whole) if letter == "\n" and i + 1 >= len(r["prefix"])]:
            trials[r["problem_id"], whole[:end]] += 1
            successes[r["problem_id"], whole[:end]] += r["right"]
    return sampled, trials, successes


def assert_counts_are_those_of_the_store(place: Path, rows: Sequence[StepRow]) -> None:
    _, trials, successes = recount(place)
    for one in rows:
        open_ = range(1, len(one.steps) + (not one.finished))
        keys = [(one.problem_id, "".join(f"{step}\n" for step in one.steps[:length])) for length in open_]
        assert one.trials[: len(keys)] == tuple(trials[key] for key in keys)  # type: ignore[index]
        assert one.successes[: len(keys)] == tuple(successes[key] for key in keys)  # type: ignore[index]


def test_a_fixed_number_is_sampled_and_what_passes_comes_on_top(tmp_path: Path) -> None:
    engine = Walk()
    report, rows = run(tmp_path, engine=engine, n=40, count_passing=True)
    assert engine.asked == 40 * report.prefixes == 40 * 8
    assert_counts_are_those_of_the_store(tmp_path, rows)
    assert [one.trials[-1] for one in rows[:5]] == [1] * 5
    passing = {(one.problem_id, one.steps[:length]): n - 40 for one in rows
               for length, n in enumerate(one.trials[: len(one.steps) - one.finished], start=1)}
    assert report.passing == sum(passing.values())
    assert passing["p0", ("left",)] == 0
    assert 10 < passing["p0", ("left", "right")] < 30
    assert passing["p0", ("left", "right", "left")] > passing["p0", ("left", "right")]  # from both prefixes of it
    again, same = run(tmp_path, n=40, count_passing=True)
    assert (again.completions, again.passing) == (0, report.passing)
    assert same == rows
    without, plain = run(tmp_path, n=40)
    assert without.completions == without.passing == 0
    assert all(set(one.trials) <= {40, 1} for one in plain)


def test_an_interrupted_run_ends_with_the_same_numbers(tmp_path: Path) -> None:
    _, whole = run(tmp_path / "whole", n=20, count_passing=True, part_completions=8)
    for batches in (3, 5, 2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", n=20, engine=Walk(batches), count_passing=True, part_completions=8)
    report, rows = run(tmp_path / "killed", n=20, count_passing=True, part_completions=8)
    assert report.completions < 8 * 20
    assert rows == whole


def test_a_completion_that_the_store_holds_twice_passes_once(tmp_path: Path) -> None:
    report, rows = run(tmp_path, n=20, count_passing=True, part_completions=20)
    shutil.copy(tmp_path / "parts" / "000001.parquet", tmp_path / "parts" / "000099.parquet")
    again, same = run(tmp_path, n=20, count_passing=True)
    assert again.passing == report.passing > 0
    assert same == rows


@pytest.mark.parametrize("rule", [Adaptive(eta=0.0, width=0.3, n_min=3, n_max=24, step=4),
                                  Accurate(rmse=0.09, n_min=3, n_max=24)])
def test_rules_count_what_passes_unless_told_not_to(rule: Adaptive | Accurate, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, adaptive=rule, engine=Walk(4), part_completions=8)
    report, rows = run(tmp_path, adaptive=rule, part_completions=8)
    assert_counts_are_those_of_the_store(tmp_path, rows)
    sampled, _, _ = recount(tmp_path)
    assert report.passing > 0
    assert max(sampled.values()) <= 24
    bare, rows = run(tmp_path / "bare", adaptive=rule, count_passing=False)
    assert bare.passing == 0
    assert max(n for one in rows for n in one.trials) <= 24
    assert bare.completions > report.completions + report.restored
