"""Soft values on the CPU: exact identities, stability at any eta, gradients, and refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm.errors import InputError
from erprm.kernels import log_mean_exp

ETAS = st.one_of(st.floats(-1e4, 1e4), st.sampled_from([0.0, 1e-12, -1e-8, 1e-4, 88.0, -89.0, 1e4, -1e4]))
SEGMENTS = st.lists(st.lists(st.floats(0.0, 1.0, width=32), min_size=1, max_size=40), min_size=1, max_size=8)


def pack(segments: list[list[float]], dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    offsets = torch.tensor([0, *map(len, segments)]).cumsum(0)
    return torch.tensor([value for segment in segments for value in segment], dtype=dtype), offsets


def exact(segment: list[float], eta: float) -> float:
    """V_eta by 60-digit arithmetic."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec = 60
        if eta == 0:
            return float(sum(map(Decimal, segment)) / len(segment))
        total = sum((Decimal(eta) * Decimal(value)).exp() for value in segment) / len(segment)
        return float(total.ln() / Decimal(eta))


@settings(max_examples=60, deadline=None)
@given(SEGMENTS, ETAS)
def test_every_eta_is_exact(segments: list[list[float]], eta: float) -> None:
    if 0 < abs(eta) < 1e-30:
        eta = 0.0  # 60 digits are not enough for the oracle there
    outcomes, offsets = pack(segments)
    expected = torch.tensor([exact(segment, eta) for segment in segments], dtype=torch.float64)
    values = log_mean_exp(outcomes, offsets, eta)
    assert torch.allclose(values, expected, rtol=1e-12, atol=1e-15)
    single = log_mean_exp(outcomes.float(), offsets, eta)
    assert ((single - expected).abs() <= 2**-24 * expected.abs() + 1e-30).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.data(), ETAS)
def test_counts_form_equals_outcomes_form_and_the_closed_form(n: int, data: st.DataObject, eta: float) -> None:
    k = data.draw(st.integers(0, n))
    outcomes, offsets = torch.tensor([1] * k + [0] * (n - k), dtype=torch.uint8), torch.tensor([0, n])
    counted = log_mean_exp(outcomes, offsets, eta)
    assert torch.allclose(counted, log_mean_exp(outcomes.double(), offsets, eta).float(), rtol=2e-7, atol=0)
    assert torch.equal(counted, log_mean_exp(outcomes.bool(), offsets, eta))
    if 1e-12 < abs(eta) < 50:
        assert counted.item() == pytest.approx(math.log1p(k / n * math.expm1(eta)) / eta, rel=1e-6, abs=1e-12)


def test_limits_and_duality() -> None:
    outcomes, offsets = pack([[0.2, 0.9, 0.4], [0.5]])
    low, mean, high = log_mean_exp(outcomes, offsets, [-1e9, 0.0, 1e9])
    assert torch.allclose(low, torch.tensor([0.2, 0.5], dtype=torch.float64), atol=1e-8)
    assert mean.tolist() == [pytest.approx(0.5), 0.5]
    assert torch.allclose(high, torch.tensor([0.9, 0.5], dtype=torch.float64), atol=1e-8)
    # Soft maximum under pi0 equals the soft minimum under pi* proportional to pi0 exp(eta r), Bernoulli p = 3/10.
    eta, p = 2.0, 0.3
    tilted = p * math.exp(eta) / (1 - p + p * math.exp(eta))
    binary, at = torch.tensor([1] * 3 + [0] * 7, dtype=torch.bool), torch.tensor([0, 10])
    assert log_mean_exp(binary, at, eta).item() == pytest.approx(
        -math.log(1 - tilted + tilted * math.exp(-eta)) / eta, rel=1e-6)


def test_martingale_of_exp_eta_v() -> None:
    """The value of equal groups' values is the value of all."""
    outcomes = torch.rand(32, dtype=torch.float64)
    inner = log_mean_exp(outcomes, torch.arange(0, 33, 8), 3.0)
    assert torch.allclose(log_mean_exp(inner, torch.tensor([0, 4]), 3.0),
                          log_mean_exp(outcomes, torch.tensor([0, 32]), 3.0))


def test_a_segment_of_100000() -> None:
    outcomes = torch.zeros(100_001)
    outcomes[7] = 1.0
    values = log_mean_exp(outcomes, torch.tensor([0, 100_000, 100_001]), 20.0)
    assert values.tolist() == [pytest.approx(math.log1p(1e-5 * math.expm1(20.0)) / 20, rel=1e-6), 0.0]


def test_float32_beats_the_naive_form_by_far_at_small_eta() -> None:
    outcomes, offsets = torch.rand(64), torch.tensor([0, 64])
    eta = 1e-4
    expected = log_mean_exp(outcomes.double(), offsets, eta)
    naive = torch.log(torch.exp(eta * outcomes).mean()) / eta
    assert (log_mean_exp(outcomes, offsets, eta) - expected).abs() <= 1e-6
    assert (naive - expected).abs() > 1e-5


def test_gradient() -> None:
    outcomes = torch.rand(7, dtype=torch.float64, requires_grad=True)
    offsets = torch.tensor([0, 3, 7])
    assert torch.autograd.gradcheck(lambda r: log_mean_exp(r, offsets, [2.0, -1.0, 0.0, 30.0, 1e-5]), outcomes)
    value = log_mean_exp(outcomes, offsets, 2.0).sum()
    value.backward(retain_graph=True)
    first = outcomes.grad.clone()
    value.backward()
    assert torch.equal(outcomes.grad, 2 * first)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_outcomes_give_float32_values(dtype: torch.dtype) -> None:
    outcomes = torch.rand(9).to(dtype).requires_grad_()
    value = log_mean_exp(outcomes, torch.tensor([0, 9]), 5.0)
    assert value.dtype == torch.float32
    assert torch.allclose(value, log_mean_exp(outcomes.detach().double(), torch.tensor([0, 9]), 5.0).float())
    value.sum().backward()
    assert outcomes.grad.dtype == dtype


def test_no_segment() -> None:
    assert log_mean_exp(torch.empty(0), torch.tensor([0]), 1.0).shape == (0,)
    assert log_mean_exp(torch.empty(0), torch.tensor([0]), [1.0, 2.0]).shape == (2, 0)


@pytest.mark.parametrize(("outcomes", "offsets", "eta", "message"), [
    (torch.rand(3), torch.tensor([0, 2, 1, 3]), 1.0, "offsets: .*a decrease at segment 1"),
    (torch.rand(3), torch.tensor([0, 2, 2, 3]), 1.0, "offsets: .*an empty segment at segment 1"),
    (torch.rand(3), torch.tensor([0, 4]), 1.0, "offsets: .*end with 3, found 0 and 4"),
    (torch.rand(3), torch.tensor([0, 3], dtype=torch.int32), 1.0, "offsets: expected int64"),
    (torch.rand(3, 1), torch.tensor([0, 3]), 1.0, r"rewards: .*found float32 \[3, 1\]"),
    (torch.ones(3, dtype=torch.int64), torch.tensor([0, 3]), 1.0, "rewards: expected .*found int64"),
    (torch.tensor([0.0, math.nan]), torch.tensor([0, 2]), 1.0, "rewards: expected finite values, found nan at"),
    (torch.tensor([0, 2], dtype=torch.uint8), torch.tensor([0, 2]), 1.0, "rewards: expected 0 or 1, found 2"),
    (torch.rand(3), torch.tensor([0, 3]), math.inf, "etas: expected finite numbers, found inf"),
    (torch.rand(3), torch.tensor([0, 3]), [], "etas: expected at least one number"),
])
def test_refusals(outcomes: torch.Tensor, offsets: torch.Tensor, eta: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        log_mean_exp(outcomes, offsets, eta)
