"""Each operation on the CPU under pytest-benchmark: `pytest bench --benchmark-only`.

Small and quick, for a developer's before and after; `bench/kernels.py` and `bench/head.py` write the result files.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

pytest.importorskip("pytest_benchmark")

from erprm.kernels import counts_loss, log_mean_exp, step_loss, vocab_loss

STEPS, ROWS, WIDTH, VOCABULARY = 30, 1024, 256, 4096


def cases() -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
    """A scalar function of each operation and the tensors that get gradients; none for a forward pass alone."""
    torch.manual_seed(0)
    hidden = torch.randn(ROWS, WIDTH, requires_grad=True)
    head = torch.randn(2, WIDTH, requires_grad=True)
    lm_head = torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    positions, targets = torch.arange(STEPS) * (ROWS // STEPS), torch.rand(STEPS)
    offsets = torch.arange(STEPS + 1) * 16
    outcomes = (torch.rand(STEPS * 16) > 0.5).to(torch.uint8)
    successes, trials = outcomes.reshape(-1, 16).sum(dim=1), torch.full((STEPS,), 16)
    scores = torch.rand(STEPS * 16, requires_grad=True)
    return {
        "step_loss": (lambda: step_loss(hidden, head, positions, targets=targets)[0], (hidden, head)),
        "step_loss from rewards": (lambda: step_loss(hidden, head, positions, rewards=outcomes, offsets=offsets,
                                                      etas=(2.0,))[0], (hidden, head)),
        "counts_loss": (lambda: counts_loss(hidden, head, positions, successes=successes, trials=trials,
                                            concentration=8.0)[0], (hidden, head)),
        "vocab_loss": (lambda: vocab_loss(hidden, lm_head, positions, targets=targets, label_ids=(1, 2))[0],
                            (hidden, lm_head)),
        "log_mean_exp": (lambda: log_mean_exp(scores, offsets, 2.0).sum(), (scores,)),
        "log_mean_exp uint8": (lambda: log_mean_exp(outcomes, offsets, 2.0), ()),
    }


@pytest.mark.parametrize(("name", "mode"), [(name, mode) for name, (_, leaves) in cases().items()
                                            for mode in ("forward", "both") if leaves or mode == "forward"])
def test_operation(name: str, mode: str, benchmark: Callable[..., object]) -> None:
    run, leaves = cases()[name]
    if mode == "forward":
        with torch.no_grad():
            benchmark(run)
    else:
        benchmark(lambda: torch.autograd.grad(run(), leaves))
