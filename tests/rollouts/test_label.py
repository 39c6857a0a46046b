"""Labelling: what is sampled, what is not, what is counted, and what a second run does."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from erprm.engines import Completion, Request, Sampling
from erprm.errors import InputError
from erprm.grading import GraderPool
from erprm.rollouts.accuracy import Accurate
from erprm.rollouts.allocation import Adaptive
from erprm.rollouts.estimate import estimate
from erprm.rollouts.run import LabelOptions, label
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows

from .coin import CoinEngine, problems, row
from .tallies import tally

SAMPLING = Sampling(max_tokens=8)
ROWS = [row(0, "a p=1", "b p=0.5", "#### 7"), row(0, "a p=1", "c p=0", "#### 8", outcome=0.0),
        row(0, "a p=1", "b p=0.5", "#### 7"), row(1, "x p=0.25", "y p=0.75", outcome=0.0, finished=False)]


def run(place: Path, rows: list[StepRow] = ROWS, sampling: Sampling = SAMPLING, engine: CoinEngine | None = None,
        **options: object) -> tuple[object, list[StepRow]]:
    with GraderPool(workers=1) as grader:
        report = label(problems(2), rows, engine or CoinEngine(), sampling, place, grader,
                       LabelOptions(**options))  # type: ignore[arg-type]
    return report, list(read_rows(place / "rows.parquet"))


def test_shared_prefixes_are_sampled_once_and_ended_ones_never(tmp_path: Path) -> None:
    engine = CoinEngine()
    report, rows = run(tmp_path, engine=engine, n=40)
    assert report.prefixes == 5
    assert engine.asked == 5 * 40
    first, second, again, unfinished = rows
    assert first.trials == (40, 40, 1)
    assert first.successes[0] == 40  # p = 1
    assert first.successes[-1] == 1  # the outcome itself
    assert second.trials == (40, 40, 1)
    assert second.successes == (40, 0, 0)
    assert again.successes == first.successes
    assert unfinished.trials == (40, 40)
    mean = 5  # tokens of each completion
    assert (report.saved.dedupe, report.saved.finished) == (3 * 40 * mean, 3 * 40 * mean)


def test_a_second_run_samples_only_what_is_missing(tmp_path: Path) -> None:
    run(tmp_path, n=3, part_completions=4)
    before = {(r["prefix_id"], r["sample"]): r["text"] for t in read_parts(tmp_path) for r in t.to_pylist()}
    engine = CoinEngine()
    report, rows = run(tmp_path, [*ROWS, row(1, "new p=1", "#### 7")], engine=engine, n=5)
    assert (report.restored, engine.asked) == (15, 5 * 2 + 5)
    assert report.answered.texts == 30
    after = {(r["prefix_id"], r["sample"]): r["text"] for t in read_parts(tmp_path) for r in t.to_pylist()}
    assert len(after) == 30
    assert before.items() <= after.items()
    assert rows[-1].trials == (5, 1)
    assert run(tmp_path, engine=(idle := CoinEngine()), n=5)[0].restored == 25
    assert idle.asked == 0


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    run(tmp_path, n=1)
    with pytest.raises(InputError, match=r"max_tokens: store has 8, asked for 9; seed: store has 0, asked for 4"):
        run(tmp_path, sampling=Sampling(max_tokens=9), seed=4)


def test_own_outcomes_count_as_samples_when_asked(tmp_path: Path) -> None:
    engine = CoinEngine()
    _, rows = run(tmp_path, [row(0, "a p=0", "#### 7"), row(0, "a p=0", "b p=0", "#### 8", outcome=0.0)],
                  engine=engine, n=10, count_own_outcome=True)
    assert rows[0].trials == (10, 1)
    assert rows[0].successes == (1, 1)
    assert engine.asked == 8 + 9


@pytest.mark.parametrize("rule", [Adaptive(eta=0.0, width=1e-6, n_min=4, n_max=8), Accurate(rmse=1e-6, n_max=8)])
def test_an_adaptive_rule_samples_besides_own_outcomes(rule: Adaptive | Accurate, tmp_path: Path) -> None:
    engine = CoinEngine()
    _, rows = run(tmp_path, [row(0, "a p=0.5", "#### 7"), row(0, "a p=0.5", "b p=0.5", "#### 8", outcome=0.0)],
                  engine=engine, adaptive=rule, count_own_outcome=True)
    assert rows[1].trials == (8 + 2, 8 + 1, 1)
    assert engine.asked == 2 * 8


def test_ungraded_solutions_are_graded_first(tmp_path: Path) -> None:
    _, rows = run(tmp_path, [row(0, "a p=1", "#### 7", outcome=None), row(0, "#### 9", outcome=None)], n=2)
    assert [r.outcome for r in rows] == [1.0, 0.0]
    assert [r.successes for r in rows] == [(2, 1), (0,)]


def test_truncated_completions_are_kept_and_counted_apart(tmp_path: Path) -> None:
    class Cut(CoinEngine):
        def sample(self, requests: object, sampling: Sampling) -> object:  # type: ignore[override]
            import dataclasses
            drawn = super().sample(requests, sampling)  # type: ignore[arg-type]
            return [[dataclasses.replace(c, finish_reason="length") if i % 2 else c for i, c in enumerate(group)]
                    for group in drawn]

    report, rows = run(tmp_path, engine=Cut(), n=4)
    assert report.truncated == 5 * 2
    assert rows[0].extra["truncated"] == [2, 2, 0]
    assert rows[0].trials == (4, 4, 1)
    reasons = [r["finish_reason"] for t in read_parts(tmp_path) for r in t.to_pylist()]
    assert reasons.count("length") == 10
    assert run(tmp_path, engine=Cut(), n=4)[0].truncated == 10  # remembered


def test_adaptive_stops_where_the_value_is_known(tmp_path: Path) -> None:
    rule = Adaptive(eta=1.0, width=0.35, n_min=4, n_max=60, step=4)
    report, rows = run(tmp_path, adaptive=rule)
    sure, even = rows[0].trials[0], rows[0].trials[1]
    assert 4 <= sure < even <= 60
    k, n = np.array(rows[0].successes[:2]), np.array(rows[0].trials[:2])
    assert rule.enough(tally(k, n)).all()
    assert not rule.enough(tally(k - np.minimum(k, 1), n - 4))[1]  # one look earlier it was not enough
    assert report.saved.early_stop > 0
    resumed, again = run(tmp_path, adaptive=rule)
    assert resumed.completions == 0
    assert again == rows


def test_a_settled_class_stops_early(tmp_path: Path) -> None:
    _, rows = run(tmp_path, adaptive=Adaptive(eta=0.0, settled=0.5, n_min=4, n_max=200, step=4))
    assert rows[0].trials[0] <= 8  # p = 1
    assert rows[1].trials[1] <= 8  # p = 0
    assert rows[3].trials[0] > 8  # p = 0.25


def test_the_token_budget_is_never_exceeded(tmp_path: Path) -> None:
    report, _ = run(tmp_path, n=100, token_budget=203, part_completions=16)
    assert report.out_of_budget
    assert 203 - 8 * 2 <= report.tokens <= 203
    more, _ = run(tmp_path, n=100, token_budget=303, part_completions=16)
    assert report.tokens + more.tokens <= 303


def test_an_estimate_counts_what_the_run_does(tmp_path: Path) -> None:
    report, _ = run(tmp_path, n=6)
    found = estimate(problems(2), ROWS, LabelOptions(n=6), 8, "rows")
    assert (found.prefixes, found.completions) == (report.prefixes, report.completions)
    assert (found.steps, found.finished) == (11, 3)


@pytest.mark.parametrize(("change", "words"), [
    ({"rows": []}, "at least one solution"),
    ({"rows": [ROWS[0], StepRow(prompt="who?", steps=("a",))]}, r"solutions:2: expected a solution to one of"),
    ({"rows": [row(0, "a", outcome=0.5)]}, "solutions:1: outcome: expected 0 or 1"),
    ({"rows": [row(0, "a", outcome=0.0), row(0, "a", outcome=1.0)]}, "solutions:2"),
    ({"n": 0}, "n: expected at least 1"), ({"token_budget": 0}, "token_budget"),
])
def test_bad_input_is_one_line(tmp_path: Path, change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        run(tmp_path, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{}, {"width": 0.0}, {"settled": 0.5, "n_min": 9, "n_max": 8},
                                     {"width": 0.1, "eta": float("nan")}, {"width": 0.1, "level": 1.0}])
def test_a_rule_that_cannot_work_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Adaptive(**options)  # type: ignore[arg-type]


def test_a_target_of_accuracy_samples_where_it_helps_and_then_stops(tmp_path: Path) -> None:
    solutions = [row(0, f"{i} p=0", f"b{i} p={(i + 1) / 5 if i < 4 else 0}", "#### 8", outcome=0.0) for i in range(12)]
    rule = Accurate(eta=2.0, rmse=0.02, n_min=8, n_max=200)
    report, rows = run(tmp_path, solutions, adaptive=rule)
    certain = [r.trials[0] for r in rows] + [r.trials[1] for r in rows[4:]]
    assert min(r.trials[1] for r in rows[:4]) > 2 * max(certain)
    assert report.rmse <= 0.02
    assert run(tmp_path, solutions, adaptive=rule)[0].completions == 0
    assert run(tmp_path, solutions, adaptive=Accurate(rmse=0.015, n_max=200))[0].completions > 0


def test_an_answer_that_was_cut_off_is_not_right(tmp_path: Path) -> None:
    class Cut(CoinEngine):
        texts = ("so\n#### 7", "so\n#### 7\n", "so \\boxed{7} and", "so \\boxed{7")

        def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
            return [[Completion(text, "length", 5) for text in self.texts] for _ in requests]

    report, rows = run(tmp_path, [row(0, "a", "#### 7")], engine=Cut(), n=4)
    assert rows[0].successes == (2, 1)
    assert rows[0].trials == (4, 1)
    assert report.truncated == 4
    kept = {r["text"]: (r["answer"], r["right"]) for t in read_parts(tmp_path) for r in t.to_pylist()}
    assert kept == dict(zip(Cut.texts, [(None, False), ("7", True), ("7", True), (None, False)], strict=True))


def test_completions_become_rows_when_asked(tmp_path: Path) -> None:
    report, _ = run(tmp_path, n=40, contrast=1)
    pairs = list(read_rows(tmp_path / "contrast.parquet"))
    assert report.contrast_rows == len(pairs) == 6  # b p=0.5 once, x p=0.25 and y p=0.75
    assert sum(pair.outcome for pair in pairs) == 3
    assert all(pair.successes[-1] == pair.outcome for pair in pairs)
    none, _ = run(tmp_path / "none", [row(0, "a p=0", "#### 8", outcome=0.0)], n=4, contrast=1)
    assert none.contrast_rows == 0
    assert list(read_rows(tmp_path / "none" / "contrast.parquet")) == []
