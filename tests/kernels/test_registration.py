"""The operations as PyTorch sees them: opcheck, torch.compile without graph breaks, and value checks inside a graph."""

import pytest
import torch
from torch import Tensor, library

from erprm.errors import InputError
from erprm.kernels import beta_binomial_step_loss, log_mean_exp, pool_best, segment_min, step_loss, vocab_step_loss
from erprm.kernels.ops import eager, losses, pools, targets, vocabulary

POSITIONS, VALUES = torch.tensor([1, 3]), torch.tensor([0.2, 1.0])
OFFSETS = torch.tensor([0, 2, 5])


def leaf(*shape: int) -> Tensor:
    return torch.randn(*shape, requires_grad=True)


def cases() -> dict[str, tuple[object, tuple[object, ...]]]:
    torch.manual_seed(0)
    tail = (None, None, None, 0.0, None, None, 0.0, None, None, None)
    return {
        "step_loss": (losses.step_loss, (leaf(5, 4), leaf(2, 4), leaf(2), POSITIONS, VALUES, *tail[1:], True)),
        "step_loss frozen": (losses.step_loss, (leaf(5, 4), leaf(2, 4).detach(), None, POSITIONS, None,
                                                torch.rand(5), OFFSETS, 2.0, *tail[4:], False)),
        "vocab_step_loss": (vocabulary.vocab_step_loss, (leaf(5, 4), leaf(7, 4), POSITIONS, VALUES, 1, 2, None, None,
                                                         3.0, True, True)),
        "log_mean_exp": (targets.log_mean_exp, (torch.rand(5, requires_grad=True), OFFSETS, [2.0, -1.0])),
        "segment_reduce": (pools.segment_reduce, (torch.rand(5, requires_grad=True), OFFSETS, 2)),
        "best_of_n": (pools.best_of_n, (torch.rand(3, 4),)),
        "pool_best": (pools.pool_best, (torch.rand(5), OFFSETS, 2, 0)),
    }


@pytest.mark.parametrize("name", list(cases()))
def test_opcheck(name: str) -> None:
    operation, arguments = cases()[name]
    library.opcheck(operation, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_without_graph_breaks(dynamic: bool) -> None:
    """Every public operation in one graph, forward and backward, equal to eager."""
    outcomes, k, n = torch.rand(5), torch.tensor([1, 2]), torch.tensor([2, 4])

    def everything(hidden: Tensor, head: Tensor, lm_head: Tensor) -> Tensor:
        first, scores = step_loss(hidden, head, POSITIONS, VALUES)
        second, _ = step_loss(hidden, head, POSITIONS, outcomes=outcomes, offsets=OFFSETS, eta=2.0)
        third, _ = beta_binomial_step_loss(hidden, head, POSITIONS, k, n, 4.0)
        fourth, _ = vocab_step_loss(hidden, lm_head, POSITIONS, VALUES, label_ids=(1, 2))
        soft = log_mean_exp(hidden.flatten(), torch.tensor([0, 4, hidden.numel()]), 1.0).sum()
        values, _ = pool_best(scores, torch.tensor([0, 1, 2]), 2)
        return first + second + third + fourth + soft + values.sum() + segment_min(scores, torch.tensor([0, 2])).sum()

    torch.manual_seed(0)
    tensors = leaf(6, 4), leaf(2, 4), leaf(9, 4)
    torch._dynamo.reset()
    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    expected = everything(*tensors)
    found = compiled(*tensors)
    assert torch.equal(found, expected)
    for ours, wanted in zip(torch.autograd.grad(found, tensors), torch.autograd.grad(expected, tensors), strict=True):
        assert torch.allclose(ours, wanted)
    with pytest.raises(InputError, match="targets"):
        torch.compile(step_loss, fullgraph=True, backend="aot_eager")(leaf(6, 4), leaf(2, 4), POSITIONS, VALUES + 1)


@pytest.mark.parametrize("name", list(cases()))
def test_the_short_way_equals_the_registered_operation(name: str) -> None:
    """Bit for bit: what callers see of the outputs, and the gradients."""
    operation, arguments = cases()[name]
    module = next(module for module in (losses, pools, targets, vocabulary) if operation in vars(module).values())
    short = getattr(module, f"{name.split()[0]}_eager")
    leaves = [item for item in arguments if isinstance(item, Tensor) and item.requires_grad]
    results = []
    for run in (operation, short):
        outputs = run(*arguments)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        gradients = torch.autograd.grad(outputs[0].sum(), leaves) if leaves else ()
        assert [item.requires_grad for item in outputs] == [bool(leaves)] + [False] * (len(outputs) - 1)
        results.append((outputs, gradients))
    (registered, expected), (outputs, found) = results
    assert all(torch.equal(a, b) for a, b in zip(registered, outputs, strict=False))
    assert len(outputs) == len(registered) or len(outputs) == {"log_mean_exp": 1}.get(name, 2)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_only_plain_cpu_tensors_take_the_short_way() -> None:
    plain = torch.ones(2)
    assert eager.is_plain(plain, torch.nn.Parameter(plain))
    assert not eager.is_plain(plain, torch.ones(2, device="meta"))
    with torch._subclasses.FakeTensorMode():
        assert not eager.is_plain(torch.ones(2))
    assert torch.func.grad(lambda scores: torch.tensor(float(not eager.is_plain(scores))) * scores.sum())(plain).tolist(
    ) == [1.0, 1.0]
