"""The rule behind --rmse: its formulas against exact ones, what it asks for, and whether it keeps its word."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import betainc, betaln, comb

from erprm.errors import InputError
from erprm.rollouts.accuracy import Accurate, variance_and_decrease
from erprm.rollouts.allocation import Adaptive
from erprm.values import RATES, fit_rates, soft_of_mean, soft_value

from .tallies import tally


def beta_on_the_grid(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Beta(a, b) distributions, [N] each, as masses of the cells around RATES."""
    edges = np.concatenate([[0.0], (RATES[1:] + RATES[:-1]) / 2, [1.0]])
    return np.diff(betainc(np.asarray(a)[:, None], np.asarray(b)[:, None], edges), axis=1)


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.04, 0.6), (2.0, 5.0)])
def test_variance_and_its_decrease_are_those_of_the_beta_distribution(prior: tuple[float, float]) -> None:
    k, n, more = np.array([0, 1, 5, 16]), np.array([4, 4, 16, 16]), 4
    a, b = prior[0] + k, prior[1] + n - k
    variance, decrease = variance_and_decrease(beta_on_the_grid(a, b), more, 0.0)
    np.testing.assert_allclose(variance, a * b / (a + b) ** 2 / (a + b + 1), rtol=0.02)
    np.testing.assert_allclose(decrease, variance * more / (a + b + more), rtol=0.02)


def test_the_decrease_is_the_spread_of_the_next_estimates() -> None:
    k, n, more, prior = 3, 8, 4, (0.3, 1.0)
    a, b = prior[0] + k, prior[1] + n - k
    j = np.arange(more + 1)
    chance = comb(more, j) * np.exp(betaln(a + j, b + more - j) - betaln(a, b))
    later = soft_value(k + j, np.full(more + 1, n + more), 2.0, "beta", prior)
    now = float(soft_value(k, n, 2.0, "beta", prior))
    decrease = variance_and_decrease(beta_on_the_grid([a], [b]), more, 2.0)[1][0]
    assert decrease == pytest.approx(float(chance @ (later - now) ** 2), rel=0.01)


def test_cheap_and_much_used_prefixes_come_first() -> None:
    number = np.arange(40)
    counts = np.array([0, 2, 2, 4] * 10), np.full(40, 4)
    rule = Accurate(rmse=0.001, share=0.25)
    cheap = tally(*counts, cost=np.where(number % 4 == 1, 1.0, 50.0))
    assert np.flatnonzero(rule.wanted(cheap) > 4).tolist() == number[number % 4 == 1].tolist()
    used = tally(*counts, uses=np.where(number % 4 == 2, 50, 1))
    assert np.flatnonzero(rule.wanted(used) > 4).tolist() == number[number % 4 == 2].tolist()


def test_nothing_more_is_asked_at_the_bounds() -> None:
    rule = Accurate(rmse=1e-6, n_min=3, n_max=5)
    assert rule.wanted(tally([0, 1], [1, 5])).tolist() == [3, 5]
    assert rule.wanted(tally([0, 1], [5, 5])).tolist() == [5, 5]
    assert rule.wanted(tally([], [])).tolist() == []
    assert math.isnan(rule.expected_rmse(tally([0, 5], [0, 5])))


def test_own_outcomes_inform_but_are_not_completions() -> None:
    rule = Accurate(rmse=1e-6, n_min=3, n_max=5)
    assert rule.wanted(tally([1, 1], [4, 6], sampled=np.array([3, 5], np.int32))).tolist() == [5, 5]


def test_short_prefixes_come_first_and_longer_ones_get_what_they_still_lack() -> None:
    # A chain of three, and a chain of two whose beginning has enough.
    chains = {"depths": np.array([1, 2, 3, 1, 2], np.int32), "parents": np.array([-1, 0, 1, -1, 3])}
    rules = Accurate(rmse=1e-6, n_min=4, n_max=4), Adaptive(width=1e-6, n_min=4, n_max=4)
    for rule in rules:
        first = tally([0] * 5, [1, 0, 2, 4, 3], sampled=np.array([1, 0, 0, 4, 1], np.int32), **chains)
        assert rule.wanted(first).tolist() == [4, 0, 0, 4, 2]
        second = tally([0] * 5, [4, 1, 4, 4, 4], sampled=np.array([4, 0, 0, 4, 2], np.int32), **chains)
        assert rule.wanted(second)[:2].tolist() == [4, 3]


def test_the_error_that_it_expects_is_the_one_that_comes() -> None:
    # Rates as policies have them: early prefixes hard or lost, late ones lost or nearly sure.
    chance = np.random.default_rng(0)
    depth = np.repeat([1, 2], 1500).astype(np.int32)
    open_ = chance.random(3000) < 0.4
    rate = np.where(depth == 1, chance.beta(1.0, 4.0, 3000), chance.beta(9.0, 1.0, 3000)) * open_
    uses = chance.integers(1, 5, 3000)
    rule = Accurate(eta=2.0, rmse=0.06, n_max=64)
    k, n = np.zeros(3000, np.int32), np.zeros(3000, np.int32)
    while True:
        now = tally(k, n, depths=depth, uses=uses)
        wanted = rule.wanted(now)
        if (wanted == n).all():
            break
        k, n = (k + chance.binomial(wanted - n, rate)).astype(np.int32), wanted
    estimate = fit_rates(k, n, depth).soft_value(k, n, depth, 2.0)
    error = math.sqrt(np.average((estimate - soft_of_mean(rate, 2.0)) ** 2, weights=uses))
    assert rule.expected_rmse(now) <= 0.06
    assert error == pytest.approx(0.06, rel=0.1)
    assert n[~open_ & (depth == 2)].mean() < 0.5 * n[open_ & (depth == 1)].mean()  # what is known early costs little


@pytest.mark.parametrize("options", [{"rmse": 0.0}, {"n_min": 9, "n_max": 8}, {"eta": math.nan}, {"share": 0.0},
                                     {"step": 0}])
def test_a_target_that_cannot_work_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Accurate(**options)  # type: ignore[arg-type]
