"""Every kernel against its bound and its rivals, at sizes over three decades.

    python bench/kernels.py --op step_loss --device cuda
    python bench/kernels.py --op all --smoke          # tiny, on the CPU, to see that it runs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import common

from erprm.kernels import log_mean_exp, pool_best, step_loss, vocab_step_loss

Bench = tuple[str, dict[str, int], str, dict[str, Callable[[], object]], int | None, int | None]


def step_losses(device: str, smoke: bool) -> Iterator[Bench]:
    """Forward, and both with the hidden gradient compact (N = M) or dense."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    sizes = [(8, 8, 64)] if smoke else [(m, n, 4096) for m, n in ((16, 512), (512, 16_384), (16_384, 16_384),
                                                                  (16_384, 524_288))]
    if device == "cpu" and not smoke:
        sizes = [(16, 512, 1024), (512, 16_384, 1024), (2048, 2048, 1024)]
    for tags, rows, width in sizes:
        hidden = torch.randn(rows, width, device=device, dtype=dtype).requires_grad_()
        head = torch.randn(2, width, device=device, dtype=dtype).requires_grad_()
        at = torch.arange(tags, device=device) * (rows // tags)
        targets = torch.rand(tags, device=device)

        def ours(h: Tensor, w: Tensor, at: Tensor = at, targets: Tensor = targets) -> Tensor:
            return step_loss(h, w, at, targets)[0]

        def eager(h: Tensor, w: Tensor, at: Tensor = at, targets: Tensor = targets) -> Tensor:
            log_p = torch.log_softmax((h.index_select(0, at) @ w.T).float(), dim=-1)
            return -(targets * log_p[:, 0] + (1 - targets) * log_p[:, 1]).mean()

        size = hidden.element_size()
        shape = {"M": tags, "N": rows, "D": width}
        yield "step_loss", shape, "forward", {name: forward(form, hidden.detach(), head.detach()) for name, form in (
            ("erprm", ours), ("gathered rows, eager", eager))}, size * tags * width + 12 * tags, 2 * tags * width
        yield "step_loss", shape, "both", {name: both(form, hidden, head) for name, form in (
            ("erprm", ours), ("gathered rows, eager", eager), ("gathered rows, torch.compile", torch.compile(eager)),
        ) if not (smoke and "compile" in name)}, size * (tags + rows) * width + 16 * tags, 4 * tags * width


def segments(device: str, smoke: bool) -> Iterator[Bench]:
    """Log-mean-exp over segments of about 16 outcomes."""
    for power in ((10,) if smoke else (14, 18, 22) if device == "cpu" else (16, 20, 26)):
        outcomes = torch.rand(1 << power, device=device)
        lengths = torch.randint(1, 32, ((1 << power) // 16,))
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        offsets = offsets[: int((offsets < outcomes.numel()).sum())].to(device)
        used = int(offsets[-1])
        count = offsets.numel() - 1
        floats, bytes_ = outcomes[:used], (outcomes[:used] > 0.5).to(torch.uint8)
        def eager(values: Tensor, count: int = count, offsets: Tensor = offsets) -> Tensor:
            index = torch.repeat_interleave(torch.arange(count, device=values.device), offsets.diff())
            top = torch.full((count,), float("-inf"), device=values.device).scatter_reduce(0, index, values, "amax")
            total = torch.zeros(count, device=values.device).index_add(0, index, torch.exp(2 * (values - top[index])))
            return top + torch.log(total / offsets.diff()) / 2

        shape = {"R": used, "S": count}
        for name, data in (("float32", floats), ("uint8", bytes_)):
            yield f"log_mean_exp {name}", shape, "forward", {
                "erprm": lambda data=data, offsets=offsets: log_mean_exp(data, offsets, 2.0),
                "eager": lambda data=data, eager=eager: eager(data.float()),
            }, used * data.element_size() + 8 * count + 4 * count, None


def vocabularies(device: str, smoke: bool) -> Iterator[Bench]:
    """The loss over the whole vocabulary, on gathered rows."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    sizes = [(4, 512, 32)] if smoke else [(64, 32_768, 512)] if device == "cpu" else [
        (1024, 128_256, 4096), (16_384, 128_256, 4096)]
    for tags, vocabulary, width in sizes:
        hidden = torch.randn(tags, width, device=device, dtype=dtype).requires_grad_()
        head = (torch.randn(vocabulary, width, device=device, dtype=dtype) / width**0.5).requires_grad_()
        at, targets = torch.arange(tags, device=device), torch.rand(tags, device=device)

        def ours(h: Tensor, w: Tensor, at: Tensor = at, targets: Tensor = targets) -> Tensor:
            return vocab_step_loss(h, w, at, targets, label_ids=(1, 2))[0]

        def eager(h: Tensor, w: Tensor, targets: Tensor = targets) -> Tensor:
            log_p = torch.log_softmax((h @ w.T).float(), dim=-1)
            return -(targets * log_p[:, 1] + (1 - targets) * log_p[:, 2]).mean()

        def liger(h: Tensor, w: Tensor) -> Tensor:
            """Hard labels: Liger has no soft targets; the same matrix work."""
            from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction

            labels = torch.ones(h.shape[0], dtype=torch.int64, device=h.device)
            found: Tensor = LigerFusedLinearCrossEntropyFunction.apply(h, w, labels)[0]
            return found

        def cce(h: Tensor, w: Tensor) -> Tensor:
            """Hard labels, as for Liger."""
            from cut_cross_entropy import linear_cross_entropy

            found: Tensor = linear_cross_entropy(h, w, torch.ones(h.shape[0], dtype=torch.int64, device=h.device))
            return found

        shape = {"M": tags, "V": vocabulary, "D": width}
        rivals = {"erprm": ours, "eager": eager}
        if device == "cuda":
            rivals |= {"eager, torch.compile": torch.compile(eager), "Liger (hard labels)": liger,
                       "cut-cross-entropy (hard labels)": cce}
        flops = 2 * tags * vocabulary * width
        yield "vocab_step_loss", shape, "forward", {
            name: forward(form, hidden.detach(), head.detach()) for name, form in rivals.items()}, None, flops
        yield "vocab_step_loss", shape, "both", {
            name: both(form, hidden, head) for name, form in rivals.items()}, None, 3 * flops


def pools(device: str, smoke: bool) -> Iterator[Bench]:
    """Minimum over steps and best of N."""
    for problems, candidates in ((2, 4),) if smoke else ((500, 16), (500, 128), (500, 1024)):
        offsets = torch.arange(problems * candidates + 1, device=device) * 6
        scores = torch.rand(problems * candidates * 6, device=device)
        yield "pool_best", {"P": problems, "N": candidates}, "forward", {
            "erprm": lambda scores=scores, offsets=offsets, n=candidates: pool_best(scores, offsets, n),
            "eager": lambda scores=scores, offsets=offsets, n=candidates: torch.segment_reduce(
                scores, "min", offsets=offsets).reshape(-1, n).argmax(dim=1),
        }, 4 * scores.numel() + 12 * offsets.numel(), None


OPS = {"step_loss": step_losses, "log_mean_exp": segments, "vocab_step_loss": vocabularies, "pool_best": pools}


def forward(form: Callable[[Tensor, Tensor], Tensor], hidden: Tensor, head: Tensor) -> Callable[[], object]:
    return lambda: form(hidden, head)


def both(form: Callable[[Tensor, Tensor], Tensor], hidden: Tensor, head: Tensor) -> Callable[[], object]:
    def run() -> None:
        form(hidden, head).backward()
        hidden.grad = head.grad = None
    return run


def ceilings(device: str, smoke: bool) -> tuple[float, float]:
    """(bytes/s of a large copy, read and written; FLOP/s of a large matrix product), measured."""
    size = 1 << (20 if smoke else 24 if device == "cpu" else 30)
    side = 128 if smoke else 1024 if device == "cpu" else 8192
    source, target = torch.rand(size // 4, device=device), torch.empty(size // 4, device=device)
    left = torch.randn(side, side, device=device, dtype=torch.float32 if device == "cpu" else torch.bfloat16)
    for _ in range(3):
        target.copy_(source)
        left @ left
    copy = min(common.once(lambda: target.copy_(source), device) for _ in range(10))
    product = min(common.once(lambda: left @ left, device) for _ in range(10))
    return 2 * size / copy, 2 * side**3 / product


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op", choices=[*OPS, "all"], default="all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    bandwidth, rate = ceilings(given.device, given.smoke)
    print(f"ceilings: copy {bandwidth / 1e9:,.0f} GB/s, matrix product {rate / 1e12:,.2f} TFLOP/s")
    path = None
    for name in OPS if given.op == "all" else [given.op]:
        for _, _, _, rivals, _, _ in OPS[name](given.device, True):
            for run in (rivals["erprm"], rivals.get("eager", rivals["erprm"])):
                run()  # loads libraries and compiles, so that the first shape is not charged for it
        for bench, shape, mode, rivals, bytes_, flops in OPS[name](given.device, given.smoke):
            dtype = "bfloat16" if given.device == "cuda" and flops is not None else "float32"
            work = common.Work(bytes_, flops, bandwidth, rate)
            found = common.measure(bench, rivals, shape=shape, dtype=dtype, mode=mode, device=given.device, work=work,
                                   seconds=0.0 if given.smoke else 0.3, least=2 if given.smoke else 10)
            print(common.table(found), flush=True)
            path = common.write(found, given.output)  # after each, so that a later failure loses nothing
    print(f"written to {path}")


if __name__ == "__main__":
    main()
