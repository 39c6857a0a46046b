"""The output-head part of a training step: from the last hidden states to their gradient.

    python bench/head.py                    # D = 2,048, V = 128,256, 4,096 positions, 3 % tags: about a minute on CPU
    python bench/head.py --smoke            # tiny, to see that it runs

Providers: the paper's form (all logits in float32, two columns, soft targets), the strong baseline (rows gathered
first, two-row matmul) in eager and under torch.compile, and ours in both. They take turns, run by run. The gradients
are read once, as the layer below would: zeros that the system only promises cost their time there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import common

from erprm.kernels import step_loss

PLUS, MINUS = 10, 12


def providers(positions_count: int, width: int, vocabulary: int, tags: int, device: str, dtype: torch.dtype,
              paper: bool, compiled: bool) -> dict[str, Callable[[], object]]:
    """Zero-argument steps on the same data: each makes the gradients of the hidden states and of its head."""
    generator = torch.Generator(device=device).manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device, dtype=dtype)

    hidden = random(positions_count, width).requires_grad_()
    pair = (random(2, width) / width**0.5).requires_grad_()
    positions = torch.arange(tags, device=device) * (positions_count // tags)
    targets = torch.rand(tags, generator=generator, device=device)

    def gathered(hidden: Tensor, pair: Tensor) -> Tensor:
        logits = hidden.index_select(0, positions) @ pair.T
        log_p = torch.log_softmax(logits.float(), dim=-1)
        return -(targets * log_p[:, 0] + (1 - targets) * log_p[:, 1]).mean()

    def step(loss: Callable[[Tensor, Tensor], Tensor], head: Tensor) -> Callable[[], object]:
        def run() -> tuple[Tensor, ...]:
            gradients = torch.autograd.grad(loss(hidden, head), (hidden, head))
            return tuple(gradient.sum() for gradient in gradients)  # read, as the layer below would
        return run

    steps = {"erprm": step(lambda h, w: step_loss(h, w, positions, targets=targets)[0], pair),
             "gathered rows, eager": step(gathered, pair)}
    if compiled:
        steps["gathered rows, torch.compile"] = step(torch.compile(gathered, dynamic=False), pair)
        steps["erprm, torch.compile"] = step(torch.compile(
            lambda h, w: step_loss(h, w, positions, targets=targets)[0], dynamic=False), pair)
    if paper:
        lm_head = (random(vocabulary, width) / width**0.5).requires_grad_()

        def all_logits(hidden: Tensor, lm_head: Tensor) -> Tensor:
            logits = (hidden @ lm_head.T).float()
            log_p = torch.log_softmax(logits[positions][:, [PLUS, MINUS]], dim=-1)
            return -(targets * log_p[:, 0] + (1 - targets) * log_p[:, 1]).mean()

        steps["paper: all logits"] = step(all_logits, lm_head)
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--sizes", choices=["all", "paper", "growth"], default="all",
                        help="with the whole vocabulary, without it, or both")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--budget", type=float, help="seconds; what does not fit is recorded as cut")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    dtype = torch.bfloat16 if given.device == "cuda" else torch.float32
    sizes = [(64, 32, 512, 4)] if given.smoke else [(4096, 2048, 128_256, 123)]
    growth = [] if given.smoke else [(n, d, 0, max(1, n * 3 // 100)) for n in (64, 1024, 16_384) for d in (64, 2048)]
    budget, path = common.Budget(given.budget), None
    for step in providers(64, 32, 512, 4, given.device, dtype, paper=True, compiled=False).values():
        step()  # loads libraries, so that the first shape is not charged for it
    chosen = {"all": sizes + growth, "paper": sizes, "growth": growth}[given.sizes]
    for rows, width, vocabulary, tags in chosen:
        steps = providers(rows, width, vocabulary, tags, given.device, dtype, vocabulary > 0,
                          given.compile)
        shape = {"N": rows, "M": tags, "D": width} | ({"V": vocabulary} if vocabulary else {})
        found = common.measure("head", steps, shape=shape, dtype=str(dtype).removeprefix("torch."),
                               device=given.device, seconds=0.0 if given.smoke else 0.5,
                               least=2 if vocabulary else 20, budget=budget)
        path = common.write(found, given.output)
        print(common.table(found), flush=True)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
