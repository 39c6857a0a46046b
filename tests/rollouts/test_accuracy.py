"""The rule behind --rmse: its formulas against exact ones, and what it asks for."""

import math

import numpy as np
import pytest
from scipy.special import betaln, comb

from erprm.errors import InputError
from erprm.rollouts.accuracy import Accurate, variance_and_decrease
from erprm.values import soft_value


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.04, 0.6), (2.0, 5.0)])
def test_variance_and_its_decrease_are_those_of_the_beta_distribution(prior: tuple[float, float]) -> None:
    k, n, more = np.array([0, 1, 5, 16]), np.array([4, 4, 16, 16]), 4
    variance, decrease = variance_and_decrease(k, n, more, 0.0, prior)
    a, b = prior[0] + k, prior[1] + n - k
    np.testing.assert_allclose(variance, a * b / (a + b) ** 2 / (a + b + 1), rtol=0.02)
    np.testing.assert_allclose(decrease, variance * more / (a + b + more), rtol=0.02)


def test_the_decrease_is_the_spread_of_the_next_estimates() -> None:
    k, n, more, prior = 3, 8, 4, (0.3, 1.0)
    a, b = prior[0] + k, prior[1] + n - k
    j = np.arange(more + 1)
    chance = comb(more, j) * np.exp(betaln(a + j, b + more - j) - betaln(a, b))
    later = soft_value(k + j, np.full(more + 1, n + more), 2.0, "beta", prior)
    now = float(soft_value(k, n, 2.0, "beta", prior))
    decrease = variance_and_decrease([k], [n], more, 2.0, prior)[1][0]
    assert decrease == pytest.approx(float(chance @ (later - now) ** 2), rel=0.01)


def test_cheaper_completions_come_first() -> None:
    k, n = np.array([0, 2, 2, 4] * 5, np.int32), np.full(20, 4, np.int32)
    cost = np.where(np.arange(20) % 4 == 1, 1.0, 50.0)
    wanted = Accurate(rmse=0.01, share=0.25).wanted(k, n, cost)
    assert np.flatnonzero(wanted > n).tolist() == [1, 5, 9, 13, 17]


def test_nothing_more_is_asked_at_the_bounds() -> None:
    rule = Accurate(rmse=1e-6, n_min=3, n_max=5)
    k, n = np.array([0, 1], np.int32), np.array([1, 5], np.int32)
    assert rule.wanted(k, n, np.ones(2)).tolist() == [3, 5]
    full = np.array([5, 5], np.int32)
    assert rule.wanted(k, full, np.ones(2)).tolist() == [5, 5]
    assert rule.wanted(k[:0], full[:0], np.ones(0)).tolist() == []
    assert math.isnan(rule.expected_rmse(k, np.array([0, 5], np.int32)))


@pytest.mark.parametrize("options", [{"rmse": 0.0}, {"n_min": 9, "n_max": 8}, {"eta": math.nan}, {"share": 0.0},
                                     {"step": 0}])
def test_a_target_that_cannot_work_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Accurate(**options)  # type: ignore[arg-type]
