"""Intervals, paired tests, calibration and curves: they hold what they promise on data whose truth is known."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from erprm.errors import InputError
from erprm.evaluation.curves import Pool, accuracy_curves, compare
from erprm.statistics.agreement import soft_auc
from erprm.statistics.bootstrap import bootstrap_interval, holm, paired_test
from erprm.statistics.calibration import calibrate


def test_bootstrap_interval_has_the_width_of_the_standard_error_and_repeats() -> None:
    values = np.random.default_rng(0).random((400, 2))
    low, high = bootstrap_interval(values)
    error = values.std(axis=0) / 20
    np.testing.assert_allclose(high - low, 2 * 1.96 * error, rtol=0.06)
    np.testing.assert_array_equal((low, high), bootstrap_interval(values))


def test_paired_test_sees_what_separate_intervals_cannot() -> None:
    """A small but steady gain between two noisy selectors: their intervals overlap, the paired test is sure."""
    rng = np.random.default_rng(1)
    base = rng.random(300)
    better = base + 0.03 + rng.normal(0, 0.05, 300)
    assert bootstrap_interval(base)[1] > bootstrap_interval(better)[0]
    result = paired_test(better, base)
    assert result.p < 0.001
    assert 0 < result.low < result.difference < result.high
    assert result.difference == pytest.approx((better - base).mean())


def test_paired_test_rejects_equal_selectors_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    p_values = [paired_test(rng.random(30), rng.random(30), seed=i, resamples=400).p for i in range(400)]
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.04)
    assert paired_test([0.5, 1.0], [0.5, 1.0]).p == 1.0


def test_holm_correction_of_a_known_case() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_calibration_of_a_perfect_and_of_a_boastful_scorer() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(20_000)
    outcome = (rng.random(20_000) < truth).astype(float)
    fair, boast = calibrate(truth, outcome), calibrate(np.sqrt(truth), outcome)
    assert fair.ece < 0.01
    assert boast.ece == pytest.approx(np.mean(np.sqrt(truth) - truth), abs=0.01)
    assert boast.auc == pytest.approx(fair.auc)  # the order is the same
    assert fair.brier < boast.brier
    assert sum(part.count for part in boast.bins) == 20_000
    for part in fair.bins:
        assert abs(part.truth - part.score) < 5 * part.error


def test_area_under_curve_equals_scikit_learn_and_takes_fractions_as_shares() -> None:
    rng = np.random.default_rng(4)
    scores, truth = rng.integers(0, 5, 200) / 4, rng.integers(0, 2, 200)
    assert soft_auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    k = rng.integers(0, 17, 50)
    s = rng.random(50)
    spread = roc_auc_score(np.tile([1, 0], 50), np.repeat(s, 2), sample_weight=np.stack([k, 16 - k], 1).ravel())
    assert soft_auc(s, k / 16) == pytest.approx(spread)
    assert calibrate([0.1, 0.9], [1, 1]).auc is None


def pool(seed: int, skill: float = 1.0) -> Pool:
    rng = np.random.default_rng(seed)
    correct = (rng.random((120, 16)) < rng.beta(1, 3, (120, 1))).astype(float)
    answers = np.where(correct == 1, 0, rng.integers(1, 6, correct.shape)).tolist()
    return Pool(answers, correct, {"good": correct + rng.normal(0, 1 / skill, correct.shape),
                                   "noise": rng.random(correct.shape)})


def test_curves_order_the_selectors_and_compare_them() -> None:
    curves = accuracy_curves(pool(0), [1, 4, 16], weigh_by="noise")
    table = curves.table()
    assert table["n"] == [1, 4, 16]
    assert set(table) == {"n", "good", "noise", "majority", "weighted_majority", "pass@n"}
    at_16 = {name: table[name]["accuracy"][-1] for name in table if name != "n"}
    assert at_16["pass@n"] > at_16["good"] > at_16["noise"]
    for name in at_16:
        entry = table[name]
        assert entry["accuracy"][0] == pytest.approx(table["pass@n"]["accuracy"][0])  # n = 1: nothing to choose
        assert np.all(np.diff([entry["low"], entry["accuracy"], entry["high"]], axis=0) >= 0)
    good, none = compare(curves, [("good", "pass@1"), ("noise", "pass@1")], n=16)
    assert good.result.p < 0.001 < 0.05 < none.result.p
    with pytest.raises(InputError, match="expected one of good"):
        compare(curves, [("better", "noise")], n=16)
    with pytest.raises(InputError, match="n: expected one of 1, 4, 16"):
        compare(curves, [("good", "noise")], n=8)
