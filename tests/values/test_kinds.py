"""Targets of graded rewards, and the kinds that look at more than one step: first-error, progress, td."""

import json
import math
from pathlib import Path

import mpmath
import numpy as np
import pytest

from erprm import values
from erprm.cli import main
from erprm.errors import InputError
from erprm.rows import StepRow, write_rows
from erprm.values.spec import TargetSpec

GRADED = StepRow("q", ("a", "b", "c", "d"), successes=(0, 2, 0, 0), trials=(0, 4, 0, 0), outcome=0.7,
                 rewards=((0.0, 0.5, 1.0), (), (0.3,), ()))


def exact(rewards: list[float], eta: float) -> mpmath.mpf:
    with mpmath.workdps(400):
        if eta == 0:
            return mpmath.fsum(rewards) / len(rewards)
        return mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(eta) * r) for r in rewards) / len(rewards)) / eta


@pytest.mark.parametrize("eta", [-700.0, -3.0, -1e-9, 0.0, 1e-4, 0.7, 10.0, 709.0])
def test_soft_rewards_are_the_log_mean_exp_and_its_jackknife(eta: float) -> None:
    rng = np.random.default_rng(1)
    lengths = [1, 2, 5, 16, 5, 1]
    segments = [np.round(rng.random(length), 3).tolist() for length in lengths]
    offsets = np.cumsum([0, *lengths])
    flat = [reward for segment in segments for reward in segment]
    np.testing.assert_allclose(values.soft_rewards(flat, offsets, eta), [float(exact(s, eta)) for s in segments],
                               rtol=1e-12)
    jackknife = [float(exact(s, eta) if len(s) == 1 else len(s) * exact(s, eta) - (len(s) - 1) * mpmath.fsum(
        exact(s[:i] + s[i + 1:], eta) for i in range(len(s))) / len(s)) for s in segments]
    found = values.soft_rewards(flat, offsets, eta, "jackknife")
    np.testing.assert_allclose(found, jackknife, rtol=1e-10)
    clipped = values.soft_rewards(flat, offsets, eta, "jackknife", clip=True)
    assert all(min(s) <= value <= max(s) for s, value in zip(segments, clipped, strict=True))


@pytest.mark.parametrize("estimator", ["plug-in", "jackknife"])
def test_rewards_of_0_and_1_are_their_counts(estimator: str) -> None:
    counts = [(k, n) for n in (1, 2, 7) for k in range(n + 1)]
    flat = np.concatenate([np.arange(n) < k for k, n in counts]).astype(float)
    k, n = np.array(counts).T
    for eta in (-4.0, 0.0, 0.5, 20.0):
        np.testing.assert_allclose(values.soft_rewards(flat, np.cumsum([0, *n]), eta, estimator),
                                   values.soft_value(k, n, eta, estimator), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("rewards", "offsets", "eta", "estimator", "says"), [
    ([0.5], [0, 1], 2.0, "beta", "expected plug-in or jackknife for graded rewards, found 'beta'"),
    ([0.5], [0, 0, 1], 2.0, "plug-in", "at least one reward of each step, found none of step 0"),
    ([0.5, math.nan], [0, 2], 2.0, "plug-in", "finite numbers, found nan at index 1"),
    ([0.5], [0, 2], 2.0, "plug-in", "ascend from 0 to 1"),
    ([0.5, 0.5], [0, 2, 1, 2], 2.0, "plug-in", "ascend from 0 to 2"),
    ([[0.5]], [0, 1], 2.0, "plug-in", r"found shape \(1, 1\)"),
    ([0.5], [0, 1], math.inf, "plug-in", "eta: expected a finite number"),
])
def test_bad_rewards_are_one_line(rewards: list, offsets: list, eta: float, estimator: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        values.soft_rewards(rewards, offsets, eta, estimator)


def test_graded_steps_and_counted_steps_stand_side_by_side() -> None:
    soft = values.row_targets(GRADED, "soft")
    np.testing.assert_allclose(soft, [0.5, 0.5, 0.3, 0.7])
    np.testing.assert_array_equal(values.row_targets(GRADED, "hard", threshold=0.5), [1, 0, 0, 0.7])
    er = values.row_targets(GRADED, "er", eta=3.0)
    np.testing.assert_allclose(er[:2], [np.log(np.mean(np.exp([0, 1.5, 3.0]))) / 3.0, values.soft_value(2, 4, 3.0)])
    assert 0 <= values.row_targets(GRADED, "er", eta=30.0, estimator="jackknife").max() <= 1
    rows = [GRADED, StepRow("r", ("x",), successes=(1,), trials=(2,), finished=False), GRADED]
    for kind in ("soft", "hard", "er", "progress", "td"):
        whole = values.step_targets(values.Steps.of_rows(rows), kind)
        np.testing.assert_array_equal(whole, np.concatenate([values.row_targets(row, kind) for row in rows]))


@pytest.mark.parametrize(("spec", "says"), [
    (TargetSpec("er", estimator="beta"), "found 'beta', which needs counts"),
    (TargetSpec("td", estimator="empirical-bayes"), "found 'empirical-bayes', which needs counts"),
    (TargetSpec("er", estimator="delta"), "found 'delta', which needs counts"),
    (TargetSpec("first-error"), "first-error: expected counts, found graded rewards")])
def test_what_needs_counts_refuses_rewards(spec: TargetSpec, says: str) -> None:
    with pytest.raises(InputError, match=says):
        spec.of_steps(values.Steps.of_rows([GRADED]))


def test_first_error_is_1_before_0_at_it_and_none_after() -> None:
    wrong = StepRow("q", ("a", "b", "c", "d"), successes=(30, 25, 0, 0), trials=(40, 40, 40, 1), outcome=0.0)
    found = values.row_targets(wrong, "first-error")
    assert found[0] > 0.999
    assert found[1] > 0.999
    assert found[2] < 0.05
    assert math.isnan(found[3])
    right = StepRow("q", ("a", "b"), successes=(9, 1), trials=(16, 1), outcome=1.0)
    assert (values.row_targets(right, "first-error") > 0.9).all()
    unsure = StepRow("q", ("a", "b", "c"), successes=(8, 0, 0), trials=(8, 1, 8), finished=False)
    posterior = values.first_error([8, 0, 0], [8, 1, 8])
    np.testing.assert_allclose(values.row_targets(unsure, "first-error")[:2],
                               [1 - posterior[0], 1 - posterior[1] / posterior[1:].sum()])
    # The outcome at the end counts once: it is what the posterior is given, not a completion too.
    np.testing.assert_allclose(values.row_targets(wrong, "first-error")[0],
                               1 - values.first_error([30, 25, 0, 0], [40, 40, 40, 0], right=False)[0])
    with pytest.raises(InputError, match=r"outcomes that are 0 or 1, found 0\.5"):
        values.row_targets(StepRow("q", ("a",), successes=(0,), trials=(0,), outcome=0.5), "first-error")


def test_the_prior_of_first_errors_is_fitted_to_the_rows() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(300):
        error = int(rng.integers(0, 4))
        rates = np.where(np.arange(4) < error, 0.9, 0.0)
        rows.append(StepRow(f"q{number}", ("a", "b", "c", "d"), successes=(*rng.binomial(4, rates[:3]).tolist(), 0),
                            trials=(4, 4, 4, 1), outcome=0.0))
    prior = TargetSpec("first-error").fitted_to_rows(rows).prior
    assert isinstance(prior, values.ErrorPrior)
    assert prior.alive[0] / sum(prior.alive) == pytest.approx(0.9, abs=0.03)
    assert prior.dead[0] / sum(prior.dead) < 0.02


def test_progress_keeps_a_share_of_the_success_rate() -> None:
    row = StepRow("q", tuple("abcdef"), successes=(8, 4, 1, 0, 0, 1), trials=(8, 8, 8, 8, 8, 1), outcome=1.0)
    np.testing.assert_equal(values.row_targets(row, "progress"), [math.nan, 1, 0, 0, math.nan, math.nan])
    np.testing.assert_equal(values.row_targets(row, "progress", epsilon=0.6), [math.nan, 0, 0, 0, math.nan, math.nan])
    with pytest.raises(InputError, match="epsilon: expected a positive number, found 0"):
        values.row_targets(row, "progress", epsilon=0.0)


def test_td_is_the_lookahead_of_the_soft_values() -> None:
    row = StepRow("q", tuple("abcd"), successes=(1, 5, 7, 1), trials=(8, 8, 8, 1), outcome=1.0)
    soft = values.row_targets(row, "er", eta=3.0)
    for horizon, weight in ((1, 1.0), (2, 0.5), (0, 0.5), (9, 0.3)):
        np.testing.assert_allclose(values.row_targets(row, "td", eta=3.0, horizon=horizon, weight=weight),
                                   values.td_targets(soft, horizon, weight, 3.0), rtol=1e-12)
    gaps = StepRow("q", tuple("abc"), successes=(1, 0, 0), trials=(4, 0, 0), finished=False)
    np.testing.assert_equal(values.row_targets(gaps, "td", eta=0.0), [0.25, math.nan, math.nan])
    with pytest.raises(InputError, match="weight in"):
        values.row_targets(row, "td", weight=1.5)


@pytest.mark.parametrize(("kind", "labels"), [("first-error", [True, True]), ("progress", None), ("td", [True, True])])
def test_exports_write_every_kind(kind: str, labels: list | None, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.parquet", [StepRow("q", ("a", "b"), successes=(8, 1), trials=(8, 1), outcome=1.0)])
    code = main(["convert", "--from", "erprm", "--to", "trl", "--target", kind, "--threshold", "0.5",
                 "--input", str(tmp_path / "rows.parquet"), "--out", str(tmp_path / "out.jsonl")])
    said = capsys.readouterr()
    if labels is None:  # the first step has none, which this format cannot say
        assert code == 2
        assert "found none: 1 dropped: labels: expected one for every step" in said.err
        assert not (tmp_path / "out.jsonl").exists()
    else:
        assert code in (0, None)
        assert json.loads((tmp_path / "out.jsonl").read_text())["labels"] == pytest.approx(labels, abs=0.1)
