"""erprm.values held to arbitrary-precision arithmetic, to exact enumeration, and to the identities of the theory."""

import math
import re
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm import values
from erprm.errors import InputError
from erprm.rows import StepRow

ETAS = (0.0, 1e-300, 1e-8, 1e-4, 0.1, 0.999, 1.0, 1.001, 2.0, 10.0, 50.0, 709.0, 1e4, 1e300)

THEORY = Path(__file__).parents[2] / "docs" / "theory.md"

ALONE = tuple(name for name in values.ESTIMATORS if name != "empirical-bayes")  # from the counts of one prefix


def documented() -> list[list[float]]:
    """The rows of the estimator table of docs/theory.md: eta, p, value, then bias and error of each estimator."""
    lines = [line for line in THEORY.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    return [[float(number) for number in re.findall(r"[-+]?[\d.]+", line)] for line in lines]


def exact(p: mpmath.mpf, eta: float) -> float:
    with mpmath.workdps(60):
        eta = mpmath.mpf(eta)
        return float(p) if eta == 0 else float(mpmath.log(1 - p + p * mpmath.exp(eta)) / eta)


def soft_plus(x: mpmath.mpf) -> mpmath.mpf:
    return max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x)))


@pytest.mark.parametrize("eta", [sign * eta for eta in ETAS if eta < 1e5 for sign in (1, -1)])
def test_soft_value_equals_arbitrary_precision(eta: float) -> None:
    k = np.array([0, 1, 3, 8, 15, 16])
    with mpmath.workdps(400):
        want = [exact(mpmath.mpf(int(x)) / 16, eta) if abs(eta) > 1e-290 else x / 16 for x in k]
    np.testing.assert_allclose(values.soft_value(k, 16, eta), want, rtol=1e-14, atol=1e-15)


def test_limits_are_mean_maximum_and_minimum() -> None:
    k = np.array([0, 1, 8, 15, 16])
    assert values.soft_value(k, 16, 0.0).tolist() == (k / 16).tolist()
    np.testing.assert_allclose(values.soft_value(k, 16, 1e300), [0, 1, 1, 1, 1], atol=1e-200)
    np.testing.assert_allclose(values.soft_value(k, 16, -1e300), [0, 0, 0, 0, 1], atol=1e-200)


@pytest.mark.parametrize("eta", [-20.0, -1.0, 0.0, 1e-9, 0.3, 2.0, 20.0])
def test_success_rate_comes_back_from_its_soft_value(eta: float) -> None:
    p = np.linspace(0, 1, 11)
    np.testing.assert_allclose(values.mean_of_soft(values.soft_of_mean(p, eta), eta), p, atol=1e-12)
    assert math.isfinite(float(values.mean_of_soft(0.5, 1e4)))


@pytest.mark.parametrize("row", documented(), ids=str)
def test_documented_bias_and_error_of_each_estimator_by_enumeration(row: list[float]) -> None:
    eta, p, documented_value, *figures = row
    n, k = 16, np.arange(17)
    chance = np.array([math.comb(n, int(x)) for x in k]) * p**k * (1 - p) ** (n - k)
    value = float(values.soft_of_mean(p, eta))
    assert value == pytest.approx(documented_value, abs=5.1e-4)
    assert len(figures) == 2 * len(ALONE)
    for estimator, bias, error in zip(ALONE, figures[::2], figures[1::2], strict=True):
        off = values.soft_value(k, n, eta, estimator) - value
        assert chance @ off == pytest.approx(bias, abs=5.1e-4), estimator
        assert math.sqrt(chance @ off**2) == pytest.approx(error, abs=5.1e-4), estimator


@pytest.mark.parametrize("eta", [-1e4, -1.0, 1e-8, 2.0, 300.0])
@pytest.mark.parametrize(("a", "b"), [(0.5, 16.5), (0.01, 1.02), (512.5, 1.5), (300.0, 700.0)])
def test_posterior_mean_equals_arbitrary_precision(eta: float, a: float, b: float) -> None:
    with mpmath.workdps(30):
        # In the log-odds t; the value is a difference of two soft-plus functions with kinks at 0 and -eta.
        def density(t: mpmath.mpf) -> mpmath.mpf:
            return mpmath.exp(-a * mpmath.log1p(mpmath.exp(-t)) - b * mpmath.log1p(mpmath.exp(t)))

        def soft(t: mpmath.mpf) -> mpmath.mpf:
            return (soft_plus(t + eta) - soft_plus(t)) / eta

        width = 60 / min(a, b, 1.0)
        peak = math.log(a / b)
        sd = math.sqrt(1 / a + 1 / b)
        points = sorted({-width + min(peak, 0), width + max(peak, 0), 0.0, peak,
                         *(peak + m * sd for m in (-16, -8, -4, -2, 2, 4, 8, 16)),
                         *(x for x in (-eta, -eta - 20, -eta + 20) if -width < x < width)})
        want = mpmath.quad(lambda t: density(t) * soft(t), points) / mpmath.quad(density, points)
    got = values.soft_value(0, 1, eta, "beta", prior=(a, b - 1))
    assert float(got) == pytest.approx(float(want), abs=1e-10)


@given(p=st.floats(0, 1), eta=st.floats(-1e4, 1e4))
def test_soft_minimum_under_the_optimal_policy_is_the_same_value(p: float, eta: float) -> None:
    """Duality: p* = p e^eta / (1 - p + p e^eta), and the soft minimum under p* is the soft maximum under p."""
    value = float(values.soft_of_mean(p, eta))
    with mpmath.workdps(30):
        tilted = mpmath.mpf(p) * mpmath.exp(eta) / (1 - mpmath.mpf(p) + mpmath.mpf(p) * mpmath.exp(eta))
        other = 1 - tilted + tilted * mpmath.exp(-mpmath.mpf(eta))
        dual = p if abs(eta) < 1e-12 else float(-mpmath.log(other) / eta) if other > 0 else value
    assert 0.0 <= value <= 1.0
    if abs(eta) < 25:  # beyond it 1 - p* needs more digits than p* was given
        assert value == pytest.approx(dual, abs=1e-9)


@given(shares=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6), data=st.data(), eta=st.floats(-1e4, 1e4))
def test_exponential_of_the_value_is_a_martingale(shares: list[float], data: st.DataObject, eta: float) -> None:
    """The value before a step is the soft mean of the values after it, weighted by the step's probability."""
    weights = np.array(shares) / np.sum(shares)
    means = np.array(data.draw(st.lists(st.floats(0, 1), min_size=len(shares), max_size=len(shares))))
    before = float(values.soft_of_mean(np.clip(weights @ means, 0, 1), eta))
    after = values.soft_mean(values.soft_of_mean(means, eta), eta, weights)
    assert float(after) == pytest.approx(before, abs=1e-9)


@given(k=st.integers(0, 40), extra=st.integers(0, 40), eta=st.floats(-1e4, 1e4),
       estimator=st.sampled_from(ALONE))
def test_every_estimator_is_finite_and_clips_into_the_range(k: int, extra: int, eta: float, estimator: str) -> None:
    n = max(k + extra, 1)
    assert math.isfinite(float(values.soft_value(k, n, eta, estimator)))
    assert 0.0 <= float(values.soft_value(k, n, eta, estimator, clip=True)) <= 1.0
    low, high = values.interval(k, n, eta)
    assert 0.0 <= float(low) <= float(values.soft_value(k, n, eta, "beta")) + 1e-12
    assert float(low) <= float(high) <= 1.0


def test_estimators_agree_at_eta_zero_and_shapes_broadcast() -> None:
    k, n = np.array([[0], [4]]), np.array([4, 16, 64])
    for estimator in ("plug-in", "jackknife", "delta"):
        np.testing.assert_allclose(values.soft_value(k, n, 0.0, estimator), k / n, atol=1e-15)
        assert values.soft_value(1, 1, 3.0, estimator) == pytest.approx(1.0)
    np.testing.assert_allclose(values.soft_value(k, n, 0.0, "beta"), (k + 0.5) / (n + 1.0))


def test_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(2.0, 3.0, 4000)
    low, high = values.interval(rng.binomial(16, p), 16, 2.0, level=0.9, prior=(2.0, 3.0))
    truth = values.soft_of_mean(p, 2.0)
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.9, abs=0.015)


def test_fitted_prior_recovers_the_one_that_made_the_counts() -> None:
    rng = np.random.default_rng(1)
    counts = rng.binomial(16, rng.beta(0.4, 1.5, 20_000))
    assert values.fit_prior(counts, 16) == pytest.approx((0.4, 1.5), rel=0.05)
    a, b = values.fit_prior([8, 8, 8], 16)  # no spread at all: the bound, not a failure
    assert a == pytest.approx(b, rel=1e-3)


def test_targets_of_each_kind() -> None:
    k = np.array([0, 1, 8, 16])
    assert values.targets(k, 16, "soft").tolist() == [0, 1 / 16, 0.5, 1]
    assert values.targets(k, 16, "hard").tolist() == [0, 1, 1, 1]
    assert values.targets(k, 16, "hard", threshold=0.5).tolist() == [0, 0, 0, 1]
    np.testing.assert_allclose(values.targets(k, 16, "er", eta=2.0), values.soft_value(k, 16, 2.0))
    assert values.targets(1, 16, "er", eta=10.0, estimator="jackknife") == pytest.approx(1.0)  # 1.15 unclipped


def test_row_targets_end_with_the_outcome_and_mark_unlabelled_steps() -> None:
    row = StepRow("q", ("a", "b", "c"), successes=(4, 0, 0), trials=(16, 0, 16), outcome=1.0)
    np.testing.assert_equal(values.row_targets(row, "soft"), [0.25, math.nan, 1.0])
    assert values.row_targets(row, "outcome").tolist() == [1, 1, 1]
    cut = StepRow("q", ("a", "b"), successes=(4, 2), trials=(16, 16), outcome=0.0, finished=False)
    assert values.row_targets(cut, "soft").tolist() == [0.25, 0.125]
    labelled = StepRow("q", ("a", "b"), labels=(None, 0.5))
    np.testing.assert_equal(values.row_targets(labelled, "labels"), [math.nan, 0.5])
    for kind in ("outcome", "er"):
        with pytest.raises(InputError, match="found none"):
            values.row_targets(labelled, kind)


def test_td_targets_look_ahead_in_the_log_domain() -> None:
    v = np.array([0.2, 0.6, 1.0])
    assert values.td_targets(v, horizon=1).tolist() == [0.6, 1.0, 1.0]
    np.testing.assert_allclose(values.td_targets(v, horizon=2, weight=0.5), [0.6, 0.8, 1.0])
    mixed = np.log(0.5 * np.exp(3 * 0.2) + 0.5 * np.exp(3 * 1.0)) / 3
    np.testing.assert_allclose(values.td_targets(v, horizon=2, weight=0.5, eta=3.0)[0], mixed)


@pytest.mark.parametrize(("arguments", "words"), [
    ((1, 0, 1.0), "trials >= 1, found 1 of 0"),
    (([0, 3], [2, 2], 1.0), "found 3 of 2 at index 1"),
    ((-1, 2, 1.0), "found -1 of 2"),
    ((0.5, 2, 1.0), "whole numbers"),
    (([1, 2], [3, 3, 3], 1.0), "broadcast"),
    ((1, 2, math.nan), "eta: expected a finite number, found nan"),
    ((1, 2, math.inf), "eta"),
    ((1, 2, 1.0, "mean"), "estimator: expected one of plug-in"),
    ((1, 2, 1.0, "beta", (0.0, 1.0)), "prior"),
])
def test_bad_input_is_named(arguments: tuple, words: str) -> None:
    with pytest.raises(InputError, match=words):
        values.soft_value(*arguments)


COUNTED = st.builds(
    lambda counts, outcome, finished: StepRow("q", [f"s{i}" for i in range(len(counts))],
                                              successes=[min(k, n) for k, n in counts], trials=[n for _, n in counts],
                                              outcome=outcome, finished=finished),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5),
    st.sampled_from([None, 0.0, 1.0]), st.booleans())


@settings(max_examples=60, deadline=None)
@given(st.lists(COUNTED, min_size=1, max_size=6), st.sampled_from(["soft", "hard", "er"]), st.sampled_from(ALONE))
def test_targets_of_all_steps_at_once_are_those_of_each_by_itself(rows: list, kind: str, estimator: str) -> None:
    found = values.step_targets(values.Steps.of_rows(rows), kind, 2.0, estimator)
    expected = []
    for row in rows:
        for step, (k, n) in enumerate(zip(row.successes, row.trials, strict=True)):
            ended = step == len(row.steps) - 1 and row.finished and row.outcome is not None
            expected.append(row.outcome if ended else math.nan if n == 0 else
                            float(values.targets(k, n, kind, 2.0, estimator)))
    np.testing.assert_equal(found, expected)
