"""The posterior over the first wrong step is exact, calibrated, and finds the step with fewer samples than fixed n."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import betabinom

from erprm.errors import InputError
from erprm.values import ErrorPrior, first_error, fit_error_prior, next_sample

PRIOR = ErrorPrior(alive=(2.0, 2.0), dead=(0.2, 12.0), hazard=0.25)


def by_formula(k: list[int], n: list[int], right: bool | None, prior: ErrorPrior) -> np.ndarray:
    """The posterior written out term by term."""
    length = len(k)
    weights = []
    for error in range(length + 1):
        weight = (1 - prior.hazard) ** error * (prior.hazard if error < length else 1.0)
        for j in range(length):
            weight *= betabinom.pmf(k[j], n[j], *(prior.alive if j < error else prior.dead))
        chance = 1.0 if error == length else prior.dead[0] / sum(prior.dead)
        weight *= 1.0 if right is None else chance if right else 1 - chance
        weights.append(weight)
    return np.array(weights) / sum(weights)


def solutions(count: int, length: int, seed: int) -> list[tuple[int, np.ndarray, bool]]:
    """(first wrong step, success rates [length], outcome) drawn from the prior."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        error = min(int(rng.geometric(PRIOR.hazard)) - 1, length)
        rates = np.where(np.arange(length) < error, rng.beta(*PRIOR.alive, length), rng.beta(*PRIOR.dead, length))
        right = error == length or bool(rng.random() < PRIOR.dead[0] / sum(PRIOR.dead))
        drawn.append((error, rates, right))
    return drawn


@pytest.mark.parametrize("right", [None, True, False])
def test_equals_the_formula(right: bool | None) -> None:
    for k in itertools.product(range(4), repeat=3):
        np.testing.assert_allclose(first_error(k, [3, 3, 3], right, PRIOR), by_formula(list(k), [3] * 3, right, PRIOR),
                                   rtol=1e-12)
    np.testing.assert_allclose(first_error([0, 0], [0, 0], None, PRIOR), [0.25, 0.1875, 0.5625], rtol=1e-12)


def test_a_wrong_solution_has_a_wrong_step_and_nothing_underflows() -> None:
    assert first_error([9, 9], [9, 9], right=False)[-1] == 0.0
    long = first_error([50] * 200 + [0] * 200, [100] * 400, right=False)
    assert math.isclose(long.sum(), 1.0, rel_tol=1e-12)
    assert int(np.argmax(long)) == 200


def test_ninety_per_cent_sets_hold_the_truth_nine_times_in_ten() -> None:
    rng = np.random.default_rng(7)
    held = 0
    drawn = solutions(3000, 6, seed=1)
    for error, rates, right in drawn:
        n = rng.integers(0, 7, 6)
        posterior = first_error(rng.binomial(n, rates), n, right, PRIOR)
        order = np.argsort(-posterior, kind="stable")
        mass = np.cumsum(posterior[order])
        size = int(np.searchsorted(mass, 0.9))
        # the last place is in the set with the probability that makes its mass 0.9: exact for a discrete posterior
        short = mass[size - 1] if size else 0.0
        size += int(rng.random() < (0.9 - short) / (mass[size] - short))
        held += error in order[:size]
    assert 0.87 < held / len(drawn) < 0.93  # standard error 0.0055


def test_going_where_the_entropy_falls_finds_the_step_with_fewer_samples_than_fixed_n() -> None:
    fixed, confidence = 8, 0.9
    spent, found_adaptively, found_fixed = [], 0, 0
    rng = np.random.default_rng(3)
    drawn = [one for one in solutions(300, 8, seed=2) if not one[2]]
    for error, rates, right in drawn:
        n = np.full(8, fixed)
        found_fixed += int(np.argmax(first_error(rng.binomial(n, rates), n, right, PRIOR))) == error
        k, n = np.zeros(8, int), np.zeros(8, int)
        posterior = first_error(k, n, right, PRIOR)
        while posterior.max() < confidence and n.sum() < fixed * 8:
            place, gain = next_sample(posterior, k, n, PRIOR, np.arange(8, 0, -1))
            assert gain > 0
            n[place] += 1
            k[place] += rng.random() < rates[place]
            posterior = first_error(k, n, right, PRIOR)
        spent.append(n.sum())
        found_adaptively += int(np.argmax(posterior)) == error
    assert max(spent) <= fixed * 8
    assert np.mean(spent) < 0.5 * fixed * 8
    assert found_adaptively > 0.85 * len(drawn)
    assert found_adaptively > found_fixed - 0.06 * len(drawn)


def test_the_prior_comes_back_from_counts() -> None:
    rng = np.random.default_rng(5)
    drawn = solutions(1500, 6, seed=4)
    n = np.full(1500 * 6, 12)
    k = rng.binomial(n, np.concatenate([rates for _, rates, _ in drawn]))
    found = fit_error_prior(k, n, np.arange(1501) * 6, [right for _, _, right in drawn])
    assert abs(found.hazard - PRIOR.hazard) < 0.03
    for pair, true in ((found.alive, PRIOR.alive), (found.dead, PRIOR.dead)):
        assert abs(pair[0] / sum(pair) - true[0] / sum(true)) < 0.03


@pytest.mark.parametrize(("k", "n", "says"), [([], [], "at least one step"), ([2], [1], "0 <= successes"),
                                              ([0], [-1], "trials >= 0"), ([[1]], [[1]], r"step \[L\]")])
def test_bad_counts_are_one_line(k: list, n: list, says: str) -> None:
    with pytest.raises(InputError, match=says):
        first_error(k, n)


@pytest.mark.parametrize("bad", [{"alive": (0.0, 1.0)}, {"dead": (1.0,)}, {"hazard": 0.0}, {"hazard": 1.0}])
def test_bad_priors_are_one_line(bad: dict) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        ErrorPrior(**bad)
