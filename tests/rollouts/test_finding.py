"""`--find first-error`: calibrated on chains whose values are known, cheaper than a fixed n and never dearer."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from erprm.cli import main
from erprm.engines import Sampling
from erprm.errors import InputError
from erprm.grading import GraderPool
from erprm.rollouts.allocation import Chains, Tally
from erprm.rollouts.finding import FirstErrors
from erprm.rollouts.run import LabelOptions, label
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows
from erprm.values import ErrorPrior, fit_error_prior, row_targets
from erprm.values.first_errors import first_errors
from erprm.values.spec import TargetSpec

from .coin import CoinEngine, problems, row

TRUE = ErrorPrior(alive=(4.0, 2.0), dead=(0.2, 12.0), hazard=0.25)
LENGTH = 7


def chains(count: int, seed: int) -> tuple[npt.NDArray, npt.NDArray, npt.NDArray]:
    """(first wrong step [S], success rates [S, L], outcomes [S]) drawn from the model; the outcome is a draw of the
    last prefix."""
    rng = np.random.default_rng(seed)
    error = np.minimum(rng.geometric(TRUE.hazard, count) - 1, LENGTH)
    dead = np.arange(LENGTH) >= error[:, None]
    rates = np.where(dead, rng.beta(*TRUE.dead, (count, LENGTH)), rng.beta(*TRUE.alive, (count, LENGTH)))
    right = (error == LENGTH) | (rng.random(count) < TRUE.dead[0] / sum(TRUE.dead))
    return error, rates, right.astype(float)


def run(rule: FirstErrors, rates: npt.NDArray, right: npt.NDArray, seed: int) -> Tally:
    """Sampling as the rule asks, on solutions that share no prefix."""
    rng, number = np.random.default_rng(seed), rates.size
    k, n = np.zeros(number, np.int32), np.zeros(number, np.int32)
    along = Chains(np.arange(len(right) + 1) * LENGTH, np.arange(number), right)
    while True:
        tally = Tally(k, n, n, np.ones(number), np.tile(np.arange(1, LENGTH + 1, dtype=np.int32), len(right)),
                      np.ones(number, int), np.full(number, -1), along)
        more = rule.wanted(tally) - n
        if not more.any():
            return tally
        k, n = k + rng.binomial(more, rates.ravel()).astype(np.int32), n + more


def test_the_posterior_is_calibrated_where_the_sampling_stopped_by_it() -> None:
    error, rates, right = chains(2000, seed=1)
    rule = FirstErrors(confidence=0.9, n_max=6, step=2)
    tally = run(rule, rates, right, seed=2)
    prior = fit_error_prior(tally.successes, tally.trials, tally.chains.offsets, right)
    assert prior.hazard == pytest.approx(TRUE.hazard, abs=0.03)
    [(which, posterior)] = first_errors(tally.successes, tally.trials, tally.chains.offsets, right, prior)
    chance, held = np.random.default_rng(3), 0
    for number, p in zip(which.tolist(), posterior, strict=True):
        order = np.argsort(-p, kind="stable")
        mass = np.cumsum(p[order])
        size = int(np.searchsorted(mass, 0.9))
        short = mass[size - 1] if size else 0.0
        size += int(chance.random() < (0.9 - short) / (mass[size] - short))  # its mass is 0.9 exactly, on average
        held += error[number] in order[:size]
    assert 0.87 < held / len(which) < 0.93  # standard error 0.0067


def test_it_samples_less_than_fixed_n_and_finds_as_much() -> None:
    error, rates, right = chains(250, seed=4)
    tally = run(FirstErrors(confidence=0.9, n_max=16, step=2), rates, right, seed=5)
    assert tally.trials.max() <= 16
    assert tally.trials.sum() < 0.35 * 16 * tally.trials.size
    assert (tally.trials.reshape(-1, LENGTH).sum(1) >= 3).all()  # right solutions are looked at as well
    rng = np.random.default_rng(6)
    fixed = rng.binomial(16, rates.ravel())
    found = {}
    for name, k, n in (("bisection", tally.successes, tally.trials), ("fixed", fixed, np.full(rates.size, 16))):
        prior = fit_error_prior(k, n, tally.chains.offsets, right)
        [(_, posterior)] = first_errors(k, n, tally.chains.offsets, right, prior)
        found[name] = float((posterior.argmax(1) == error).mean())
    assert found["bisection"] > found["fixed"] - 0.06


def test_shared_prefixes_serve_all_their_solutions_and_ended_ones_are_not_asked() -> None:
    # Two wrong solutions share their first step; the second steps end the solutions, so that only 0 is sampled.
    along = Chains(np.array([0, 2, 4]), np.array([0, -1, 0, -1]), np.zeros(2))
    one = Tally(np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32), np.ones(1), np.ones(1, np.int32),
                np.full(1, 2), np.full(1, -1), along)
    assert FirstErrors(0.99, step=3, n_max=8).wanted(one).tolist() == [3]
    nothing = Chains(np.array([0, 1]), np.array([-1]), np.ones(1))
    none = Tally(*(np.zeros(0, np.int32) for _ in range(3)), np.zeros(0), np.zeros(0, np.int32), np.zeros(0, int),
                 np.zeros(0, int), nothing)
    assert FirstErrors().wanted(none).tolist() == []
    assert FirstErrors().found(none).solutions == 1


@pytest.mark.parametrize(("options", "says"), [({"confidence": 1.0}, "confidence"), ({"step": 0}, "step"),
                                               ({"n_max": 0}, "n_max"), ({"n_min": -1}, "n_min")])
def test_bad_options_are_one_line(options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        FirstErrors(**options)


def test_a_run_finds_the_step_goes_on_and_serves_other_targets(tmp_path: Path) -> None:
    rows: list[StepRow] = []
    for number in range(30):
        wrong = number % 5
        steps = [f"{number} {step} p={0.9 if step < wrong else 0.0}" for step in range(5)]
        rows.append(row(number, *steps, outcome=0.0))
    engine, options = CoinEngine(), LabelOptions(16, FirstErrors(0.95), splitter="newline")
    with GraderPool(workers=1) as grader:
        budget = LabelOptions(16, FirstErrors(0.95), token_budget=400, splitter="newline")
        cut = label(problems(30), rows, engine, Sampling(max_tokens=5), tmp_path / "labels", grader, budget)
        assert cut.out_of_budget
        report = label(problems(30), rows, engine, Sampling(max_tokens=5), tmp_path / "labels", grader, options)
    assert report.restored == cut.completions
    assert report.found is not None
    assert report.found.settled == 30
    assert "first errors: 30 of 30 solutions settled" in str(report)
    assert cut.completions + report.completions == engine.asked < 0.35 * 16 * 30 * 4
    records = [tuple(record.values()) for part in read_parts(tmp_path / "labels", ["prefix_id", "sample"])
               for record in part.to_pylist()]
    assert len(set(records)) == len(records) == engine.asked
    labelled = list(read_rows(report.rows))
    target = TargetSpec("first-error").fitted_to_rows(labelled)
    known = [int(np.nanargmin(target.of_row(done))) == number % 5 for number, done in enumerate(labelled)]
    assert sum(known) >= 27  # nine of ten, as asked with 0.95
    for done in labelled:
        assert np.isfinite(row_targets(done, "er")[np.array(done.trials) > 0]).all()


def test_two_rules_at_once_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["label", "--problems", "p.jsonl", "--policy", "m", "--out", str(tmp_path / "o"), "--rmse", "0.1",
                 "--find", "first-error"])
    assert code == 2
    assert "--rmse: expected no --find beside it, found one" in capsys.readouterr().err
