"""The step losses on the CPU: values, gradients, precision, edge cases and refusals."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from erprm.errors import InputError
from erprm.kernels import counts_loss, log_mean_exp, step_loss, vocab_loss

POSITIONS = torch.tensor([1, 3, 6])


COUNTS = {"successes": torch.tensor([0, 3, 4]), "trials": torch.tensor([4, 5, 4])}
ETAS = (0.5, 2.0, -3.0)


def inputs(dtype: torch.dtype = torch.float64, rows: int = 2, width: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(8, width).to(dtype).requires_grad_()
    head = (torch.randn(rows, width) / 4).to(dtype).requires_grad_()
    bias = torch.randn(rows).to(dtype).requires_grad_()
    return hidden, head, bias, torch.tensor([0.0, 0.3, 1.0])


LEARNT: dict[str, dict[str, Any]] = {
    "targets": {"targets": torch.rand(3, 3, dtype=torch.float64)}, "one target": {"targets": torch.rand(3)},
    "counts": {**COUNTS, "etas": ETAS},
    "rewards": {"rewards": torch.rand(9), "offsets": torch.tensor([0, 4, 5, 9]), "etas": ETAS},
    "binary": {"rewards": torch.rand(9) > 0.5, "offsets": torch.tensor([0, 4, 5, 9]), "etas": ETAS}}


@pytest.mark.parametrize("learnt", LEARNT)
def test_gradcheck(learnt: str) -> None:
    hidden, head, bias, _ = inputs(rows=4, width=3)
    weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda h, w, b: step_loss(h, w, POSITIONS, **LEARNT[learnt], weights=weights, bias=b)[0], (hidden, head, bias))


def test_gradcheck_of_counts_and_vocabulary() -> None:
    hidden, head, bias, targets = inputs(rows=3, width=3)
    weights = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    check = torch.autograd.gradcheck
    assert check(lambda h, w, b: counts_loss(h, w, POSITIONS, **COUNTS, weights=weights, bias=b)[0],
                 (hidden, head, bias))
    assert check(lambda h, w, b: counts_loss(h, w, POSITIONS, **COUNTS, concentration=3.0, bias=b)[0],
                 (hidden, head[:2], bias[:2]))
    assert check(lambda h, w: vocab_loss(h, w, POSITIONS, targets=targets, label_ids=(2, 5), weights=weights)[0],
                 (hidden, torch.randn(7, 3, dtype=torch.float64, requires_grad=True)))


def test_step_loss_is_the_binary_cross_entropy_of_the_two_rows() -> None:
    hidden, head, bias, targets = inputs()
    loss, scores = step_loss(hidden, head, POSITIONS, targets=targets, bias=bias)
    pair = log_softmax(hidden[POSITIONS] @ head.T + bias, dim=-1)
    assert torch.allclose(loss, -(targets * pair[:, 1] + (1 - targets) * pair[:, 0]).mean())
    assert torch.allclose(scores, pair[:, 1:].exp())
    assert not scores.requires_grad


@pytest.mark.parametrize("learnt", LEARNT)
def test_several_etas_at_once_are_the_mean_of_their_own_losses(learnt: str) -> None:
    """Loss and gradients; row 0 of the head is shared, so its gradients add up."""
    hidden, head, bias, _ = inputs(torch.float32, rows=4)
    loss, scores = step_loss(hidden, head, POSITIONS, **LEARNT[learnt], bias=bias)
    together = torch.autograd.grad(loss, (hidden, head, bias))
    losses, columns = [], []
    for h, eta in enumerate(ETAS):
        own = {name: value[:, h] if name == "targets" and value.dim() == 2 else (eta,) if name == "etas" else value
               for name, value in LEARNT[learnt].items()}
        one, column = step_loss(hidden, head[[0, 1 + h]], POSITIONS, **own, bias=bias[[0, 1 + h]])
        losses.append(one)
        columns.append(column)
    mean = torch.stack(losses).mean()
    assert torch.allclose(loss, mean, rtol=1e-6)
    assert torch.allclose(scores, torch.cat(columns, dim=1), rtol=1e-6)
    for found, expected in zip(together, torch.autograd.grad(mean, (hidden, head, bias)), strict=True):
        assert (found - expected).norm() <= 1e-6 * expected.norm()


def test_counts_rewards_and_host_targets_train_alike() -> None:
    """The same step from k successes of n, from the 0/1 rewards themselves in three dtypes, and from their values."""
    hidden, head, _, _ = inputs(torch.float32, rows=4)
    k, n = COUNTS["successes"], COUNTS["trials"]
    ones = torch.cat([torch.arange(int(size)) < int(some) for some, size in zip(k, n, strict=True)])
    offsets = torch.tensor([0, *n.cumsum(0).tolist()])
    values = log_mean_exp(ones, offsets, ETAS).T
    ways: list[dict[str, Any]] = [{"targets": values}, {**COUNTS, "etas": ETAS}]
    ways += [{"rewards": ones.to(dtype), "offsets": offsets, "etas": ETAS}
             for dtype in (torch.bool, torch.uint8, torch.float32, torch.bfloat16)]
    results = []
    for way in ways:
        loss, scores = step_loss(hidden, head, POSITIONS, **way)
        results.append((loss, scores, *torch.autograd.grad(loss, (hidden, head))))
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            assert (found - expected).norm() <= 1e-6 * expected.norm()


@settings(max_examples=80, deadline=None)
@given(st.floats(-1e4, 1e4), st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0])))
def test_any_logit_and_target_is_exact_in_float32(z: float, target: float) -> None:
    hidden = torch.tensor([[z]], dtype=torch.float32, requires_grad=True)
    values, head = torch.tensor([target], dtype=torch.float32), torch.tensor([[0.0], [1.0]])
    loss, _ = step_loss(hidden, head, torch.tensor([0]), targets=values)
    loss.backward()
    wide = hidden.detach().double().requires_grad_()
    oracle, _ = step_loss(wide, head, torch.tensor([0]), targets=values.double())
    oracle.backward()
    plain = binary_cross_entropy_with_logits(wide.detach(), values.double()[None])
    assert oracle.item() == pytest.approx(plain.item(), rel=1e-12, abs=1e-10)
    assert loss.item() == pytest.approx(oracle.item(), rel=1e-6, abs=1e-37)
    # dz is the difference of two probabilities; where they nearly cancel, their own rounding is what is left of it.
    side = target if z <= 0 else 1 - target
    larger = max(side, torch.sigmoid(-wide.detach().abs()).item())
    assert hidden.grad.item() == pytest.approx(wide.grad.item(), rel=1e-6, abs=2**-22 * larger + 1e-37)


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
        return -(v.to(pair.dtype) * pair[:, 1] + (1 - v.to(pair.dtype)) * pair[:, 0]).mean()

    def ours(h: Tensor, w: Tensor, v: Tensor) -> Tensor:
        return step_loss(h, w, positions, targets=v)[0]

    exact = run(eager, True)
    for found, rival, truth in zip(run(ours, False), run(eager, False), exact, strict=True):
        assert (found - truth).norm() <= 2 * (rival - truth).norm() + 2**-24 * truth.norm()


def test_beta_binomial_is_the_likelihood_of_the_counts() -> None:
    """Against the sum over all outcomes (1) and, at a large concentration, the binomial."""
    hidden, head = torch.tensor([[0.7]], dtype=torch.float64), torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    at, n = torch.tensor([0]), torch.tensor([6])

    def loss(k: int, concentration: float, hidden: Tensor = hidden) -> Tensor:
        return counts_loss(hidden, head, at, successes=torch.tensor([k]), trials=n, concentration=concentration)[0]

    assert sum(math.exp(-loss(k, 2.5).item()) for k in range(7)) == pytest.approx(1.0, abs=1e-12)
    mu = 1 / (1 + math.exp(-0.7))
    assert loss(2, 1e9).item() == pytest.approx(-math.log(15 * mu**2 * (1 - mu) ** 4), rel=1e-6)
    assert loss(2, 2.5, -1e4 * hidden).isfinite()


def test_a_third_row_predicts_the_concentration() -> None:
    """The loss at what it says is that of the same concentration fixed; and counts that spread more than binomial ones
    teach it their own."""
    hidden, head, bias, _ = inputs(torch.float64, rows=3)
    loss, (mu, kappa) = counts_loss(hidden, head, POSITIONS, **COUNTS, bias=bias)
    total = torch.zeros((), dtype=torch.float64)
    for m, position in enumerate(POSITIONS):
        one = {name: counts[m : m + 1] for name, counts in COUNTS.items()}
        fixed, (same, given) = counts_loss(hidden, head[:2], position[None], **one, concentration=kappa[m].item(),
                                           bias=bias[:2])
        total += fixed
        assert same == mu[m]
        assert given == kappa[m]
    assert torch.allclose(loss, total / 3)
    logits = hidden[POSITIONS] @ head.T + bias
    assert torch.allclose(kappa, torch.nn.functional.softplus(logits[:, 2] - logits[:, 0]) + 1e-3)
    generator = np.random.default_rng(0)
    p = generator.beta(0.3 * 6.0, 0.7 * 6.0, 4000)
    k = torch.from_numpy(generator.binomial(16, p))
    weight = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=50, line_search_fn="strong_wolfe")
    counts = {"successes": k, "trials": torch.full_like(k, 16)}
    rows, places = torch.ones(4000, 1, dtype=torch.float64), torch.arange(4000)

    def closure() -> float:
        optimiser.zero_grad()
        value = counts_loss(rows, weight, places, **counts)[0]
        value.backward()
        return value.item()

    optimiser.step(closure)
    _, (mu, kappa) = counts_loss(rows, weight, places, **counts)
    assert mu[0].item() == pytest.approx(0.3, abs=0.02)
    assert kappa[0].item() == pytest.approx(6.0, rel=0.2)


@pytest.mark.parametrize("needed", range(1, 8))
def test_gradients_are_given_only_where_needed(needed: int) -> None:
    hidden, head, bias, targets = inputs(torch.float32)
    for bit, tensor in enumerate((hidden, head, bias)):
        tensor.requires_grad_(bool(needed & 1 << bit))
    step_loss(hidden, head, POSITIONS, targets=targets, bias=bias)[0].backward()
    for bit, tensor in enumerate((hidden, head, bias)):
        assert (tensor.grad is not None) == bool(needed & 1 << bit)
    if needed & 1:
        assert set(hidden.grad.abs().sum(dim=1).nonzero().flatten().tolist()) == {1, 3, 6}


def test_a_frozen_head_has_no_gradient_in_the_vocabulary_loss() -> None:
    hidden, _, _, targets = inputs(torch.float32)
    lm_head = torch.randn(50, 16)
    vocab_loss(hidden, lm_head, POSITIONS, targets=targets, label_ids=(1, 2))[0].backward()
    assert hidden.grad is not None
    lm_head.requires_grad_()
    vocab_loss(hidden.detach(), lm_head, POSITIONS, targets=targets, label_ids=(1, 2))[0].backward()
    assert lm_head.grad.shape == lm_head.shape


def test_vocabulary_loss_is_the_cross_entropy_over_all_tokens_in_any_block_size() -> None:
    from erprm.kernels.vocab_loss import reference

    torch.manual_seed(0)
    rows, lm_head = torch.randn(7, 8, dtype=torch.float64), torch.randn(11, 8, dtype=torch.float64)
    targets, weights = torch.rand(7, dtype=torch.float64), torch.rand(7, dtype=torch.float64)
    log_p = log_softmax(rows @ lm_head.T, dim=-1)
    expected = -(targets * log_p[:, 3] + (1 - targets) * log_p[:, 9])
    results = [reference.forward(rows, lm_head, targets, weights, [3, 9], [True, True], block_elements=block * 11)
               for block in (1, 3, 100)]
    for losses, _, drows, dhead in results:
        assert torch.allclose(losses, expected)
        assert torch.allclose(drows, results[0][2])
        assert torch.allclose(dhead, results[0][3])


def test_a_batch_without_tags_gives_zero_with_a_graph() -> None:
    hidden, head, bias, _ = inputs(torch.float32)
    none, empty = torch.empty(0, dtype=torch.int64), torch.empty(0)
    lm_head = torch.randn(9, 16, requires_grad=True)
    total = (step_loss(hidden, head, none, targets=empty, bias=bias)[0]
             + step_loss(hidden, head, none, targets=empty, normalizer=torch.tensor(4.0))[0]
             + step_loss(hidden, head, none, rewards=empty, offsets=torch.tensor([0]), etas=[1.0])[0]
             + step_loss(hidden, head, none, successes=none, trials=none, etas=[1.0])[0]
             + counts_loss(hidden, head, none, successes=none, trials=none, concentration=1.0)[0]
             + vocab_loss(hidden, lm_head, none, targets=empty, label_ids=(0, 1))[0])
    assert total.item() == 0.0
    total.backward()
    for tensor in (hidden, head, bias, lm_head):
        assert torch.equal(tensor.grad, torch.zeros_like(tensor))


def test_normalizer_and_weights() -> None:
    hidden, head, _, targets = inputs(torch.float32)
    weights = torch.tensor([1.0, 0.0, 3.0])
    mean, _ = step_loss(hidden, head, POSITIONS, targets=targets, weights=weights)
    total, _ = step_loss(hidden, head, POSITIONS, targets=targets, weights=weights, normalizer=torch.tensor(1))
    assert torch.allclose(total, 4 * mean)
    none, _ = step_loss(hidden, head, POSITIONS, targets=targets, normalizer=torch.tensor(0.0))
    masked, _ = step_loss(hidden, head, POSITIONS, targets=targets, weights=torch.zeros(3))
    assert none.item() == 0.0
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
        loss, scores = step_loss(rows, head, POSITIONS, targets=targets, bias=bias)
        gradient, = torch.autograd.grad(loss, rows, retain_graph=True)
        again, = torch.autograd.grad(loss, rows)
        assert torch.equal(gradient, again)
        runs.append((loss, scores, gradient))
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(runs[0], other, strict=True))


def test_mixed_dtypes_and_autocast_keep_float32() -> None:
    hidden, head, _, targets = inputs(torch.float32)
    half = hidden.detach().bfloat16().requires_grad_()
    plain, _ = step_loss(half, head, POSITIONS, targets=targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, scores = step_loss(half, head, POSITIONS, targets=targets)
        vocab, _ = vocab_loss(half, head, POSITIONS, targets=targets, label_ids=(1, 0))
        loss.backward()
    assert loss.dtype == scores.dtype == vocab.dtype == torch.float32
    assert torch.equal(loss, plain)
    assert torch.allclose(vocab, plain)
    assert (half.grad.dtype, head.grad.dtype) == (torch.bfloat16, torch.float32)


GOOD: dict[str, Any] = {"hidden": torch.randn(8, 16), "head": torch.randn(2, 16), "positions": POSITIONS,
                        "targets": torch.tensor([0.0, 0.5, 1.0])}


REWARDS: dict[str, Any] = {"targets": None, "rewards": torch.rand(3), "offsets": torch.arange(4), "etas": [1.0]}


@pytest.mark.parametrize(("change", "message"), [
    ({"hidden": torch.randn(2, 8, 16)}, "hidden: expected .*any, any.*found float32"),
    ({"head": torch.randn(1, 16)}, "head: expected at least 2 rows, found 1"),
    ({"head": torch.randn(2, 8)}, r"head: expected .*\[any, 16\]"),
    ({"positions": POSITIONS.int()}, "positions: expected int64"),
    ({"positions": torch.tensor([1, 3, 8])}, r"positions: expected values in \[0, 8\), found 8"),
    ({"positions": torch.tensor([-1, 3, 5])}, "positions: .*found -1"),
    ({"positions": torch.tensor([1, 3, 3])}, "positions: expected strictly increasing values, found 3 before 3"),
    ({"targets": torch.rand(2)}, r"targets: expected .*\[3\]"),
    ({"targets": torch.tensor([0.0, math.nan, 1.0])}, "targets: expected values in .*found nan at index 1"),
    ({"targets": torch.tensor([0.0, 1.5, 1.0])}, "targets: .*found 1.5"),
    ({"targets": torch.rand(3, requires_grad=True)}, "targets: expected a tensor without gradient"),
    ({"targets": None}, "targets: expected one of targets, successes and rewards, found none"),
    ({"rewards": torch.rand(3)}, "targets: .*found targets and rewards"),
    ({"etas": [1.0]}, "etas: expected only with successes or rewards"),
    ({"offsets": torch.arange(4)}, "offsets: expected together with rewards, found targets"),
    ({"targets": None, "successes": torch.ones(3).long(), "etas": [1.0]}, "trials: expected together with successes"),
    ({"targets": torch.rand(3, 2)}, r"targets: expected .*\[3, 1\]"),
    ({**REWARDS, "offsets": torch.tensor([0, 3])}, r"offsets: .*\[4\]"),
    ({**REWARDS, "rewards": torch.tensor([0.0, 2.0, 1.0])}, "rewards: expected values in .* found 2.0 at index 1"),
    ({**REWARDS, "rewards": torch.tensor([0.0, 1.0, math.nan])}, "rewards: expected values in .* found nan at index 2"),
    ({**REWARDS, "etas": []}, "etas: expected at least one number"),
    ({**REWARDS, "etas": None}, "etas: expected at least one number"),
    ({**REWARDS, "etas": [1.0, 2.0]}, "etas: expected 1, one for each row of the head but the first, found 2"),
    ({**REWARDS, "etas": [math.nan]}, "etas: expected finite numbers, found nan"),
    ({**REWARDS, "etas": [2.0, 2.0]}, "etas: expected distinct numbers"),
    ({"targets": None, "successes": torch.tensor([1, 1, 1]), "trials": torch.tensor([1, 0, 1]), "etas": [1.0]},
     "successes: .*trials >= 1, found 1 of 0 at index 1"),
    ({"weights": torch.tensor([1.0, -1.0, 1.0])}, "weights: expected finite values from 0"),
    ({"bias": torch.rand(3)}, "bias: expected"),
    ({"normalizer": 1.0}, "normalizer: expected a tensor, found float"),
    ({"normalizer": torch.ones(1)}, "normalizer: expected"),
    ({"hidden": torch.randn(8, 16, device="meta")}, "on meta, found"),
])
def test_refusals(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        step_loss(**{**GOOD, **change})


def test_other_refusals() -> None:
    counts = torch.tensor([1, 2, 3])
    good: dict[str, Any] = {"hidden": GOOD["hidden"], "head": GOOD["head"], "positions": POSITIONS, "successes": counts,
                            "trials": counts, "concentration": 1.0}
    with pytest.raises(InputError, match="concentration"):
        counts_loss(**{**good, "concentration": 0.0})
    with pytest.raises(InputError, match="successes: expected 0 <= successes <= trials, found 3 of 2"):
        counts_loss(**{**good, "trials": counts.clamp_max(2)})
    with pytest.raises(InputError, match="head: expected 3 rows without a concentration, found 2"):
        counts_loss(**{**good, "concentration": None})
    with pytest.raises(InputError, match="label_ids: expected two different ids in"):
        vocab_loss(GOOD["hidden"], torch.randn(9, 16), POSITIONS, targets=GOOD["targets"], label_ids=(1, 9))
