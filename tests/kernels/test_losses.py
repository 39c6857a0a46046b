"""The step losses on the CPU: values, gradients, precision, edge cases and refusals."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from erprm.errors import InputError
from erprm.kernels import beta_binomial_step_loss, log_mean_exp, step_loss, vocab_step_loss

POSITIONS = torch.tensor([1, 3, 6])


def inputs(dtype: torch.dtype = torch.float64, heads: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(8, 16).to(dtype).requires_grad_()
    head = (torch.randn(heads, 16) / 4).to(dtype).requires_grad_()
    bias = torch.randn(heads).to(dtype).requires_grad_()
    return hidden, head, bias, torch.tensor([0.0, 0.3, 1.0])


@pytest.mark.parametrize("heads", [1, 2])
def test_gradcheck(heads: int) -> None:
    hidden, head, bias, targets = inputs(heads=heads)
    weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    k, n = torch.tensor([0, 3, 4]), torch.tensor([4, 5, 4])
    check = torch.autograd.gradcheck
    assert check(lambda h, w, b: step_loss(h, w, POSITIONS, targets.double(), weights=weights, bias=b)[0],
                 (hidden, head, bias))
    assert check(lambda h, w, b: beta_binomial_step_loss(h, w, POSITIONS, k, n, 3.0, weights=weights, bias=b)[0],
                 (hidden, head, bias))
    assert check(lambda h, w: vocab_step_loss(h, w, POSITIONS, targets.double(), label_ids=(2, 5), weights=weights)[0],
                 (hidden, torch.randn(9, 16, dtype=torch.float64, requires_grad=True)))


def test_step_loss_is_the_binary_cross_entropy_of_the_two_rows() -> None:
    hidden, head, bias, targets = inputs()
    loss, scores = step_loss(hidden, head, POSITIONS, targets.double(), bias=bias)
    logits = hidden[POSITIONS] @ head.T + bias
    pair = log_softmax(logits, dim=-1)
    assert torch.allclose(loss, -(targets * pair[:, 0] + (1 - targets) * pair[:, 1]).mean())
    assert torch.allclose(scores, pair[:, 0].exp())
    assert not scores.requires_grad


@settings(max_examples=80, deadline=None)
@given(st.floats(-1e4, 1e4), st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0])))
def test_any_logit_and_target_is_exact_in_float32(z: float, target: float) -> None:
    hidden = torch.tensor([[z]], dtype=torch.float32, requires_grad=True)
    values = torch.tensor([target], dtype=torch.float32)
    loss, _ = step_loss(hidden, torch.ones(1, 1), torch.tensor([0]), values)
    loss.backward()
    wide = hidden.detach().double().requires_grad_()
    oracle, _ = step_loss(wide, torch.ones(1, 1), torch.tensor([0]), values.double())
    oracle.backward()
    plain = binary_cross_entropy_with_logits(wide.detach(), values.double()[None])
    assert oracle.item() == pytest.approx(plain.item(), rel=1e-12, abs=1e-10)
    assert loss.item() == pytest.approx(oracle.item(), rel=1e-6, abs=1e-37)
    # dz is the difference of two probabilities; where they nearly cancel, their own rounding is what is left of it.
    side = target if z <= 0 else 1 - target
    larger = max(side, torch.sigmoid(-wide.detach().abs()).item())
    assert hidden.grad.item() == pytest.approx(wide.grad.item(), rel=1e-6, abs=2**-22 * larger + 1e-37)


@pytest.mark.parametrize("eta", [-3.0, 0.0, 2.0])
@pytest.mark.parametrize("binary", [True, False])
def test_outcomes_are_aggregated_as_log_mean_exp_does(eta: float, binary: bool) -> None:
    hidden, head, _, _ = inputs(torch.float32)
    data, offsets = torch.rand(9), torch.tensor([0, 4, 5, 9])
    outcomes = (data > 0.5) if binary else data
    fused = step_loss(hidden, head, POSITIONS, outcomes=outcomes, offsets=offsets, eta=eta)
    apart = step_loss(hidden, head, POSITIONS, log_mean_exp(outcomes, offsets, eta))
    assert torch.equal(fused[0], apart[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_error_is_at_most_twice_that_of_eager_in_the_same_dtype(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    rows = torch.randn(64, 256).to(dtype)
    head = (torch.randn(2, 256) / 16).to(dtype)
    targets = torch.rand(40)
    positions = torch.arange(64)[::2][:32].sort().values
    targets = targets[:32]

    def run(form: Any, wide: bool) -> list[Tensor]:
        h = rows.to(torch.float64 if wide else dtype).requires_grad_()
        w = head.to(torch.float64 if wide else dtype).requires_grad_()
        loss = form(h, w, targets.to(torch.float64) if wide else targets)
        loss.backward()
        return [loss.detach().double(), h.grad.double(), w.grad.double()]

    def eager(h: Tensor, w: Tensor, v: Tensor) -> Tensor:
        logits = h[positions] @ w.T
        pair = log_softmax(logits, dim=-1)
        return -(v.to(pair.dtype) * pair[:, 0] + (1 - v.to(pair.dtype)) * pair[:, 1]).mean()

    def ours(h: Tensor, w: Tensor, v: Tensor) -> Tensor:
        return step_loss(h, w, positions, v)[0]

    exact = run(eager, True)
    for found, rival, truth in zip(run(ours, False), run(eager, False), exact, strict=True):
        assert (found - truth).norm() <= 2 * (rival - truth).norm() + 2**-24 * truth.norm()


def test_beta_binomial_is_the_likelihood_of_the_counts() -> None:
    """Against the sum over all outcomes (1) and, at a large concentration, the binomial."""
    hidden, head = torch.tensor([[0.7]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    at, n = torch.tensor([0]), torch.tensor([6])
    likelihoods = [math.exp(-beta_binomial_step_loss(hidden, head, at, torch.tensor([k]), n, 2.5)[0].item())
                   for k in range(7)]
    assert sum(likelihoods) == pytest.approx(1.0, abs=1e-12)
    mu = 1 / (1 + math.exp(-0.7))
    binomial = beta_binomial_step_loss(hidden, head, at, torch.tensor([2]), n, 1e9)[0].item()
    assert binomial == pytest.approx(-math.log(15 * mu**2 * (1 - mu) ** 4), rel=1e-6)
    far = beta_binomial_step_loss(-1e4 * hidden, head, at, torch.tensor([2]), n, 2.5)[0]
    assert far.isfinite()


@pytest.mark.parametrize("needed", range(1, 8))
def test_gradients_are_given_only_where_needed(needed: int) -> None:
    hidden, head, bias, targets = inputs(torch.float32)
    for bit, tensor in enumerate((hidden, head, bias)):
        tensor.requires_grad_(bool(needed & 1 << bit))
    step_loss(hidden, head, POSITIONS, targets, bias=bias)[0].backward()
    for bit, tensor in enumerate((hidden, head, bias)):
        assert (tensor.grad is not None) == bool(needed & 1 << bit)
    if needed & 1:
        assert set(hidden.grad.abs().sum(dim=1).nonzero().flatten().tolist()) == {1, 3, 6}


def test_a_frozen_head_has_no_gradient_in_the_vocabulary_loss() -> None:
    hidden, _, _, targets = inputs(torch.float32)
    lm_head = torch.randn(50, 16)
    vocab_step_loss(hidden, lm_head, POSITIONS, targets, label_ids=(1, 2))[0].backward()
    assert hidden.grad is not None
    lm_head.requires_grad_()
    vocab_step_loss(hidden.detach(), lm_head, POSITIONS, targets, label_ids=(1, 2))[0].backward()
    assert lm_head.grad.shape == lm_head.shape


def test_vocabulary_loss_is_the_cross_entropy_over_all_tokens_in_any_block_size() -> None:
    from erprm.kernels.reference import vocabulary

    torch.manual_seed(0)
    rows, lm_head = torch.randn(7, 8, dtype=torch.float64), torch.randn(11, 8, dtype=torch.float64)
    targets, weights = torch.rand(7, dtype=torch.float64), torch.rand(7, dtype=torch.float64)
    log_p = log_softmax(rows @ lm_head.T, dim=-1)
    expected = -(targets * log_p[:, 3] + (1 - targets) * log_p[:, 9])
    results = [vocabulary.forward(rows, lm_head, targets, weights, 3, 9, True, True, block_elements=block * 11)
               for block in (1, 3, 100)]
    for losses, _, drows, dhead in results:
        assert torch.allclose(losses, expected)
        assert torch.allclose(drows, results[0][2])
        assert torch.allclose(dhead, results[0][3])


def test_a_batch_without_tags_gives_zero_with_a_graph() -> None:
    hidden, head, bias, _ = inputs(torch.float32)
    none, empty = torch.empty(0, dtype=torch.int64), torch.empty(0)
    lm_head = torch.randn(9, 16, requires_grad=True)
    total = (step_loss(hidden, head, none, empty, bias=bias)[0]
             + step_loss(hidden, head, none, empty, normalizer=4.0)[0]
             + step_loss(hidden, head, none, outcomes=empty, offsets=torch.tensor([0]), eta=1.0)[0]
             + beta_binomial_step_loss(hidden, head, none, none, none, 1.0)[0]
             + vocab_step_loss(hidden, lm_head, none, empty, label_ids=(0, 1))[0])
    assert total.item() == 0.0
    total.backward()
    for tensor in (hidden, head, bias, lm_head):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


def test_normalizer_and_weights() -> None:
    hidden, head, _, targets = inputs(torch.float32)
    weights = torch.tensor([1.0, 0.0, 3.0])
    mean, _ = step_loss(hidden, head, POSITIONS, targets, weights=weights)
    total, _ = step_loss(hidden, head, POSITIONS, targets, weights=weights, normalizer=1.0)
    assert torch.allclose(total, 4 * mean)
    assert torch.equal(total, step_loss(hidden, head, POSITIONS, targets, weights=weights,
                                        normalizer=torch.tensor(1.0))[0])
    masked, _ = step_loss(hidden, head, POSITIONS, targets, weights=torch.zeros(3))
    masked.backward()
    assert masked.item() == 0.0
    assert hidden.grad.abs().sum() == 0


def test_backward_twice_non_contiguous_rows_and_repeated_runs() -> None:
    hidden, head, bias, targets = inputs(torch.float32)
    wide = torch.zeros(16, 16)
    wide[:, ::2] = hidden.detach().T
    strided = wide.T[::2].requires_grad_()
    assert not strided.is_contiguous()
    runs = []
    for rows in (hidden, strided, hidden):
        loss, scores = step_loss(rows, head, POSITIONS, targets, bias=bias)
        gradient, = torch.autograd.grad(loss, rows, retain_graph=True)
        again, = torch.autograd.grad(loss, rows)
        assert torch.equal(gradient, again)
        runs.append((loss, scores, gradient))
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_mixed_dtypes_and_autocast_keep_float32() -> None:
    hidden, head, _, targets = inputs(torch.float32)
    half = hidden.detach().bfloat16().requires_grad_()
    plain, _ = step_loss(half, head, POSITIONS, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, scores = step_loss(half, head, POSITIONS, targets)
        vocab, _ = vocab_step_loss(half, head, POSITIONS, targets, label_ids=(0, 1))
        loss.backward()
    assert loss.dtype == scores.dtype == vocab.dtype == torch.float32
    assert torch.equal(loss, plain)
    assert torch.allclose(vocab, plain)
    assert (half.grad.dtype, head.grad.dtype) == (torch.bfloat16, torch.float32)


GOOD: dict[str, Any] = {"hidden": torch.randn(8, 16), "head": torch.randn(2, 16), "positions": POSITIONS,
                        "targets": torch.tensor([0.0, 0.5, 1.0])}


@pytest.mark.parametrize(("change", "message"), [
    ({"hidden": torch.randn(2, 8, 16)}, "hidden: expected .*any, any.*found float32"),
    ({"head": torch.randn(3, 16)}, "head: expected"),
    ({"head": torch.randn(2, 8)}, r"head: expected .*\[2, 16\]"),
    ({"positions": POSITIONS.int()}, "positions: expected int64"),
    ({"positions": torch.tensor([1, 3, 8])}, r"positions: expected values in \[0, 8\), found 8"),
    ({"positions": torch.tensor([-1, 3, 5])}, "positions: .*found -1"),
    ({"positions": torch.tensor([1, 3, 3])}, "positions: expected strictly increasing values, found 3 before 3"),
    ({"targets": torch.rand(2)}, r"targets: expected .*\[3\]"),
    ({"targets": torch.tensor([0.0, math.nan, 1.0])}, "targets: expected values in .*found nan at index 1"),
    ({"targets": torch.tensor([0.0, 1.5, 1.0])}, "targets: .*found 1.5"),
    ({"targets": torch.rand(3, requires_grad=True)}, "targets: expected a tensor without gradient"),
    ({"targets": None}, "targets: .*found neither"),
    ({"outcomes": torch.rand(3)}, "targets: .*found both"),
    ({"eta": 1.0}, "offsets and eta: expected only together"),
    ({"targets": None, "outcomes": torch.rand(3), "eta": 1.0}, "offsets: expected together"),
    ({"targets": None, "outcomes": torch.rand(3), "offsets": torch.tensor([0, 3]), "eta": 1.0}, r"offsets: .*\[4\]"),
    ({"targets": None, "outcomes": torch.tensor([0.0, 2.0, 1.0]), "offsets": torch.arange(4), "eta": 1.0},
     "outcomes: expected values in"),
    ({"weights": torch.tensor([1.0, -1.0, 1.0])}, "weights: expected finite values from 0"),
    ({"bias": torch.rand(3)}, "bias: expected"),
    ({"normalizer": -1.0}, "normalizer: expected a finite number"),
    ({"normalizer": torch.ones(1)}, "normalizer: expected"),
    ({"hidden": torch.randn(8, 16, device="meta")}, "on meta, found"),
])
def test_refusals(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        step_loss(**{**GOOD, **change})


def test_other_refusals() -> None:
    counts = torch.tensor([1, 2, 3])
    with pytest.raises(InputError, match="concentration"):
        beta_binomial_step_loss(GOOD["hidden"], GOOD["head"], POSITIONS, counts, counts, 0.0)
    with pytest.raises(InputError, match="successes: expected 0 <= successes <= trials, found 3 of 2"):
        beta_binomial_step_loss(GOOD["hidden"], GOOD["head"], POSITIONS, counts, counts.clamp_max(2), 1.0)
    with pytest.raises(InputError, match="label_ids: expected two different ids in"):
        vocab_step_loss(GOOD["hidden"], torch.randn(9, 16), POSITIONS, GOOD["targets"], label_ids=(1, 9))
