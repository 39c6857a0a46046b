"""Distributions of success rates fitted to counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erprm.errors import InputError
from erprm.rows import StepRow
from erprm.values import RATES, RatePrior, distinct, fit_rates, row_targets, soft_of_mean


def test_an_atom_at_zero_and_a_rate_are_found() -> None:
    chance = np.random.default_rng(0)
    rate = np.where(chance.random(4000) < 0.7, 0.0, 0.8)
    k, n = chance.binomial(16, rate), np.full(4000, 16)
    prior = fit_rates(k, n, np.ones(4000, int))
    assert prior.masses[0, RATES < 0.01].sum() == pytest.approx(0.7, abs=0.02)
    high = prior.masses[0] * (RATES > 0.4)
    assert high.sum() == pytest.approx(0.3, abs=0.02)
    assert high @ RATES / high.sum() == pytest.approx(0.8, abs=0.02)
    value = prior.soft_value([0, 3], [4, 4], [1, 1], eta=0.0)
    assert value[0] < 0.01
    assert value[1] == pytest.approx(0.8, abs=0.03)


def test_depths_have_distributions_of_their_own() -> None:
    k = np.repeat([0, 8], 50)
    n, depth = np.full(100, 8), np.repeat([1, 3], 50)
    prior = fit_rates(k, n, depth)
    early, late = prior.soft_value([1, 1], [2, 2], [1, 3], eta=0.0)
    assert early < 0.5 < late
    unseen = prior.soft_value([1, 1, 1], [2, 2, 2], [0, 2, 9], eta=0.0)
    np.testing.assert_array_equal(unseen, [early, early, late])  # the nearest smaller depth, else the smallest


def test_few_prefixes_make_it_certain_of_nothing() -> None:
    few = fit_rates([0, 0], [4, 4], [1, 1]).soft_value([0], [4], [1], eta=0.0)[0]
    many = fit_rates([0] * 500, [4] * 500, [1] * 500).soft_value([0], [4], [1], eta=0.0)[0]
    assert many < 0.01 < few


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 5)), min_size=1, max_size=40),
       st.floats(-20, 20))
def test_values_lie_in_range_and_grow_with_successes(counts: list[tuple[int, int, int]], eta: float) -> None:
    k, more, depth = np.array(counts).T
    n = np.maximum(k + more, 1)
    prior = fit_rates(k, n, depth)
    np.testing.assert_allclose(prior.masses.sum(1), 1.0)
    value = prior.soft_value(k, n + 1, depth, eta)
    better = prior.soft_value(k + 1, n + 1, depth, eta)
    assert ((value >= 0) & (value <= better + 1e-12) & (better <= 1 + 1e-12)).all()


def test_the_posterior_mean_is_the_sum_over_the_rates() -> None:
    masses = np.random.default_rng(0).dirichlet(np.ones(len(RATES)))
    prior = RatePrior(np.array([1]), masses[None])
    weight = masses * RATES**3 * (1 - RATES) ** 5
    expected = (weight * soft_of_mean(RATES, 2.0)).sum() / weight.sum()
    np.testing.assert_allclose(prior.soft_value([3], [8], [1], 2.0), [expected], rtol=1e-12)


def test_a_target_takes_the_rates_of_its_depth() -> None:
    k, n, depth = np.repeat([0, 8], 50), np.full(100, 8), np.repeat([1, 2], 50)
    prior = fit_rates(k, n, depth)
    row = StepRow("q", ("a", "b", "c"), outcome=1.0, successes=(1, 1, 1), trials=(2, 2, 1))
    expected = [*prior.soft_value([1, 1], [2, 2], [1, 2], 2.0), 1.0]
    np.testing.assert_allclose(row_targets(row, "er", 2.0, "empirical-bayes", prior=prior), expected, rtol=1e-12)
    with pytest.raises(InputError, match="prior: expected fitted rates"):
        row_targets(row, "er", 2.0, "empirical-bayes")
    with pytest.raises(InputError, match="found fitted rates"):
        row_targets(row, "er", 2.0, "beta", prior=prior)


def test_distinct_rows_and_where_they_are() -> None:
    columns = np.array([3, 0, 3, 3]), np.array([1, 2, 1, 4])
    rows, inverse = distinct(*columns)
    assert len(rows[0]) == 3
    for column, row in zip(columns, rows, strict=True):
        np.testing.assert_array_equal(row[inverse], column)


def test_counts_out_of_order_are_refused() -> None:
    with pytest.raises(InputError, match="found 5 of 4"):
        fit_rates([5], [4], [1])
