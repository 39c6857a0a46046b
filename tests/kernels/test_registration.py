"""The operations as PyTorch sees them: opcheck, torch.compile without graph breaks, and value checks inside a graph."""

import pytest
import torch
from torch import Tensor, library

from erprm.errors import InputError
from erprm.kernels import counts_loss, log_mean_exp, step_loss, vocab_loss
from erprm.kernels.counts_loss.op import counts_loss_op
from erprm.kernels.log_mean_exp.op import log_mean_exp_op
from erprm.kernels.step_loss.op import step_loss_counts, step_loss_rewards, step_loss_targets
from erprm.kernels.vocab_loss.op import vocab_loss_op

POSITIONS, VALUES = torch.tensor([1, 3]), torch.tensor([0.2, 1.0])
OFFSETS = torch.tensor([0, 2, 5])
COUNTS = [torch.tensor([1, 2]), torch.tensor([2, 4])]


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def cases() -> dict[str, tuple[object, tuple[object, ...]]]:
    torch.manual_seed(0)
    plain, weighted = [torch.tensor(2.0)], [torch.tensor(3), torch.rand(2)]
    return {
        "step_loss_targets": (step_loss_targets, (leaf(5, 4), leaf(3, 4), leaf(3), POSITIONS, torch.rand(2, 2), plain,
                                                  True)),
        "step_loss_counts": (step_loss_counts, (leaf(5, 4), leaf(3, 4), leaf(3), POSITIONS, COUNTS, [2.0, -1.0],
                                                weighted, True)),
        "step_loss_rewards, head frozen": (step_loss_rewards, (leaf(5, 4), leaf(2, 4).detach(), None, POSITIONS,
                                                               [torch.rand(5), OFFSETS], [2.0], plain, False)),
        "counts_loss": (counts_loss_op, (leaf(5, 4), leaf(2, 4), None, POSITIONS, COUNTS, 3.0, plain, True)),
        "counts_loss, predicted": (counts_loss_op, (leaf(5, 4), leaf(3, 4), leaf(3), POSITIONS, COUNTS, None, weighted,
                                                    True)),
        "vocab_loss": (vocab_loss_op, (leaf(5, 4), leaf(7, 4), POSITIONS, VALUES, [1, 2], weighted, [True, True])),
        "log_mean_exp": (log_mean_exp_op, (torch.rand(5, requires_grad=True), OFFSETS, [2.0, -1.0])),
    }


@pytest.mark.parametrize("name", list(cases()))
def test_opcheck(name: str) -> None:
    operation, arguments = cases()[name]
    library.opcheck(operation, arguments)


def test_no_operation_takes_more_than_eight_arguments() -> None:
    for name, (operation, _) in cases().items():
        assert len(operation._opoverload._schema.arguments) <= 8, name  # type: ignore[attr-defined]


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_without_graph_breaks(dynamic: bool) -> None:
    """Every public operation in one graph, forward and backward, equal to eager."""
    rewards, (k, n) = torch.rand(5), COUNTS

    def everything(hidden: Tensor, head: Tensor, lm_head: Tensor) -> Tensor:
        pair = head[:2]
        first, scores = step_loss(hidden, pair, POSITIONS, targets=VALUES)
        second, _ = step_loss(hidden, head, POSITIONS, rewards=rewards, offsets=OFFSETS, etas=(2.0, 0.5))
        third, _ = step_loss(hidden, head, POSITIONS, successes=k, trials=n, etas=(2.0, 0.5), weights=VALUES)
        fourth, _ = counts_loss(hidden, pair, POSITIONS, successes=k, trials=n, concentration=4.0)
        fifth, (_, kappa) = counts_loss(hidden, head, POSITIONS, successes=k, trials=n)
        sixth, _ = vocab_loss(hidden, lm_head, POSITIONS, targets=VALUES, label_ids=(1, 2))
        soft = log_mean_exp(hidden.flatten(), torch.tensor([0, 4, hidden.numel()]), 1.0).sum()
        return first + second + third + fourth + fifth + sixth + soft + scores.sum() + kappa.sum()

    torch.manual_seed(0)
    tensors = leaf(6, 4), leaf(3, 4), leaf(9, 4)
    torch._dynamo.reset()
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    expected = everything(*tensors)
    found = compiled(*tensors)
    assert torch.equal(found, expected)
    for ours, wanted in zip(torch.autograd.grad(found, tensors), torch.autograd.grad(expected, tensors), strict=True):
        assert torch.allclose(ours, wanted)
    with pytest.raises(InputError, match="targets"):
        torch.compile(step_loss, fullgraph=True, backend="aot_eager")(leaf(6, 4), leaf(2, 4), POSITIONS,
                                                                     targets=VALUES + 1)
