"""The registered operations on a GPU: autograd, compile, autocast, graph capture, and no wait for the device."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from erprm.kernels import counts_loss, log_mean_exp, step_loss, vocab_loss

pytestmark = pytest.mark.gpu
POSITIONS = torch.tensor([1, 3, 6])
ETAS = (0.5, 2.0)


def tensors(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """hidden [8, 256], head [3, 256], lm_head [5000, 256]."""
    torch.manual_seed(0)
    made = torch.randn(8, 256), torch.randn(3, 256) / 16, torch.randn(5000, 256) / 16
    return tuple(tensor.to(dtype).requires_grad_() for tensor in made)  # type: ignore[return-value]


def losses(device: str) -> dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    at, targets = POSITIONS.to(device), torch.tensor([0.0, 0.3, 1.0], device=device)
    k, n = torch.tensor([0, 3, 4], device=device), torch.tensor([4, 5, 4], device=device)
    rewards, offsets = torch.linspace(0, 1, 9, device=device), torch.tensor([0, 4, 5, 9], device=device)
    one = torch.tensor(3.0, device=device)
    return {
        "targets": lambda h, w, v: step_loss(h, w[:2], at, targets=targets, normalizer=one)[0],
        "counts": lambda h, w, v: step_loss(h, w, at, successes=k, trials=n, etas=ETAS, normalizer=one)[0],
        "rewards": lambda h, w, v: step_loss(h, w, at, rewards=rewards, offsets=offsets, etas=ETAS, normalizer=one)[0],
        "likelihood": lambda h, w, v: counts_loss(h, w, at, successes=k, trials=n, normalizer=one)[0],
        "vocabulary": lambda h, w, v: vocab_loss(h, v, at, targets=targets, label_ids=(7, 9), normalizer=one)[0],
        "soft values": lambda h, w, v: log_mean_exp(h.flatten()[:9], offsets, ETAS).sum()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", losses("cpu"))
def test_registered_operations_against_the_cpu(name: str, dtype: torch.dtype) -> None:
    here = tensors(dtype)
    there = tuple(tensor.detach().cuda().requires_grad_() for tensor in here)
    exact = tuple(tensor.detach().double().requires_grad_() for tensor in here)
    expected, found = losses("cpu")[name](*exact), losses("cuda")[name](*there)
    assert torch.allclose(found.cpu().double(), expected, rtol=1e-4)
    wanted = torch.autograd.grad(expected, exact, allow_unused=True)
    for ours, oracle in zip(torch.autograd.grad(found, there, allow_unused=True), wanted, strict=True):
        assert (ours is None) == (oracle is None)
        if ours is not None:
            rounding = (oracle.to(dtype).double() - oracle).norm()
            assert (ours.cpu().double() - oracle).norm() <= 4 * rounding + 1e-4 * oracle.norm()


@pytest.mark.parametrize("name", losses("cpu"))
def test_a_warm_step_neither_waits_nor_resists_capture(name: str) -> None:
    leaves = tuple(tensor.detach().cuda().requires_grad_() for tensor in tensors(torch.bfloat16))
    loss = losses("cuda")[name]
    stream = torch.cuda.Stream()

    def step() -> tuple[Tensor, ...]:
        value = loss(*leaves)
        gradients = torch.autograd.grad(value, leaves, allow_unused=True)
        return (value.detach(), *(gradient for gradient in gradients if gradient is not None))

    with torch.cuda.stream(stream):
        eager = step()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            captured = step()
        for _ in range(2):  # the counter of programs is back at zero
            graph.replay()
    torch.cuda.synchronize()
    for ours, expected in zip(captured, eager, strict=True):
        assert torch.equal(ours, expected)


def test_compiled_and_under_autocast() -> None:
    hidden, head, lm_head = (tensor.detach().cuda().requires_grad_() for tensor in tensors(torch.float32))
    every = losses("cuda")

    def total(h: Tensor, w: Tensor, v: Tensor) -> Tensor:
        return sum(loss(h, w, v) for loss in every.values())  # type: ignore[return-value]

    expected = total(hidden, head, lm_head)
    compiled = torch.compile(total, fullgraph=True)(hidden, head, lm_head)
    assert torch.allclose(compiled, expected, rtol=1e-5)
    compiled.backward()
    with torch.autocast("cuda", dtype=torch.bfloat16):
        assert torch.allclose(total(hidden, head, lm_head), expected, rtol=2e-2)
