"""Every kernel against its bound and its rivals, at sizes over three decades.

    python bench/kernels.py --op step_loss --device cuda
    python bench/kernels.py --op all --smoke          # tiny, on the CPU, to see that it runs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
import torch.utils.checkpoint
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
import common

from erprm.kernels import log_mean_exp, step_loss, vocab_loss

Bench = tuple[str, dict[str, int], str, Mapping[str, common.Run | Sequence[common.Run]], int | None, int | None]


def step_losses(device: str, smoke: bool) -> Iterator[Bench]:
    """Forward, backward and both, with the hidden gradient compact (N = M) or dense; growth in M, N and D."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    sizes = [(16, 512, 1024), (512, 512, 1024), (512, 16_384, 1024), (8192, 8192, 1024), (512, 512, 64),
             (512, 512, 8192)]
    if device == "cuda":
        sizes = [(16_384, 16_384, 4096), (16_384, 524_288, 4096), (512, 16_384, 4096), (16_384, 16_384, 2048),
                 (16_384, 16_384, 1024), (16, 512, 4096)]

    def ours(h: Tensor, w: Tensor, at: Tensor, targets: Tensor) -> Tensor:
        return step_loss(h, w, at, targets=targets)[0]

    def six(h: Tensor, w: Tensor, at: Tensor, targets: Tensor) -> Tensor:
        return step_loss(h, torch.cat([w[:1], w[1:].expand(6, -1)]), at, targets=targets)[0]

    def eager(h: Tensor, w: Tensor, at: Tensor, targets: Tensor) -> Tensor:
        log_p = torch.log_softmax((h.index_select(0, at) @ w.T).float(), dim=-1)
        return -(targets * log_p[:, 1] + (1 - targets) * log_p[:, 0]).mean()

    forms = {"erprm": ours, "gathered rows, eager": eager}
    if not smoke:
        forms["gathered rows, torch.compile"] = torch.compile(eager, dynamic=False)
    if device == "cuda":
        forms["erprm, six etas"] = six
    for tags, rows, width in [(8, 8, 64)] if smoke else sizes:
        size = 4 if device == "cpu" else 2

        def make(mode: str, tags: int = tags, rows: int = rows, width: int = width) -> dict[str, common.Run]:
            hidden = torch.randn(rows, width, device=device, dtype=dtype).requires_grad_()
            head = torch.randn(2, width, device=device, dtype=dtype).requires_grad_()
            at, targets = torch.arange(tags, device=device) * (rows // tags), torch.rand(tags, device=device)
            return {name: MODES[mode](form, hidden, head, at, targets) for name, form in forms.items()}

        shape = {"M": tags, "N": rows, "D": width}
        row, dense = size * tags * width, size * rows * width
        for mode, bytes_, flops in (("forward", row + 12 * tags, 2 * tags * width), ("backward", dense + 8 * tags,
                                    2 * tags * width), ("both", row + dense + 16 * tags, 4 * tags * width)):
            yield "step_loss", shape, mode, rotated(make, mode, row + dense, device), bytes_, flops


def segments(device: str, smoke: bool) -> Iterator[Bench]:
    """Log-mean-exp over segments of about 16 outcomes."""
    def scatter(values: Tensor, offsets: Tensor) -> Tensor:
        lengths, values = offsets.diff(), values.float()
        index = torch.repeat_interleave(torch.arange(lengths.numel(), device=values.device), lengths,
                                        output_size=values.numel())  # a size known on the host: no synchronisation
        top = torch.full((lengths.numel(),), -torch.inf, device=values.device).scatter_reduce(0, index, values, "amax")
        total = torch.zeros(lengths.numel(), device=values.device).index_add(0, index,
                                                                             torch.exp(2 * (values - top[index])))
        return top + torch.log(total / lengths) / 2

    def reduce(values: Tensor, offsets: Tensor) -> Tensor:
        lengths, values = offsets.diff(), values.float()
        top = torch.segment_reduce(values, "max", offsets=offsets)
        shifted = torch.exp(2 * (values - top.repeat_interleave(lengths, output_size=values.numel())))
        return top + torch.log(torch.segment_reduce(shifted, "mean", offsets=offsets)) / 2

    forms = {"erprm": lambda values, offsets: log_mean_exp(values, offsets, 2.0), "eager, index_add": scatter,
             "eager, segment_reduce": reduce}
    for power in ((10,) if smoke else (14, 18, 22) if device == "cpu" else (26, 20, 16)):
        lengths = torch.randint(1, 32, ((1 << power) // 16,))
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        offsets = offsets[: int((offsets < 1 << power).sum())].to(device)
        used, count = int(offsets[-1]), offsets.numel() - 1
        for name, dtype in (("float32", torch.float32), ("uint8", torch.uint8)):
            def make(mode: str, dtype: torch.dtype = dtype, used: int = used, offsets: Tensor = offsets,
                     ) -> dict[str, common.Run]:
                data = torch.rand(used, device=device)
                leaf = data.requires_grad_() if dtype == torch.float32 else (data > 0.5).to(dtype)
                return {name: MODES[mode](form, leaf, None, offsets) for name, form in forms.items()
                        if mode == "forward" or "segment_reduce" not in name}

            bytes_ = used * dtype.itemsize + 12 * count
            for mode in ("forward", "both") if dtype == torch.float32 else ("forward",):
                yield (f"log_mean_exp {name}", {"R": used, "S": count}, mode, rotated(make, mode, bytes_, device),
                       bytes_ * (2 if mode == "both" else 1), None)


def chunk_loss(rows: Tensor, lm_head: Tensor, targets: Tensor) -> Tensor:
    """The sum of the losses of a chunk of rows."""
    log_p = torch.log_softmax((rows @ lm_head.T).float(), dim=-1)
    return -(targets * log_p[:, 1] + (1 - targets) * log_p[:, 2]).sum()


def vocabularies(device: str, smoke: bool) -> Iterator[Bench]:
    """The loss over the whole vocabulary, on gathered rows."""
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    sizes = [(4, 512, 32)] if smoke else [(64, 512, 256), (64, 4096, 256), (64, 32_768, 256), (1, 32_768, 256),
                                          (512, 32_768, 256)] if device == "cpu" else [
        (16_384, 128_256, 4096), (1024, 128_256, 4096), (1024, 4096, 4096)]
    epilogue = chunk_loss if smoke else torch.compile(chunk_loss, dynamic=False)
    for tags, vocabulary, width in sizes:
        hidden = torch.randn(tags, width, device=device, dtype=dtype).requires_grad_()
        head = (torch.randn(vocabulary, width, device=device, dtype=dtype) / width**0.5).requires_grad_()
        at, targets = torch.arange(tags, device=device), torch.rand(tags, device=device)

        def ours(h: Tensor, w: Tensor, at: Tensor = at, targets: Tensor = targets) -> Tensor:
            return vocab_loss(h, w, at, targets=targets, label_ids=(1, 2))[0]

        def eager(h: Tensor, w: Tensor, targets: Tensor = targets) -> Tensor:
            log_p = torch.log_softmax((h @ w.T).float(), dim=-1)
            return -(targets * log_p[:, 1] + (1 - targets) * log_p[:, 2]).mean()

        def chunks(h: Tensor, w: Tensor, targets: Tensor = targets) -> Tensor:
            """The strong baseline: the library's matrix products in four chunks and a compiled epilogue."""
            return torch.stack([torch.utils.checkpoint.checkpoint(
                epilogue, rows, w, some, use_reentrant=False, preserve_rng_state=False)
                for rows, some in zip(h.chunk(4), targets.chunk(4), strict=True)]).sum() / h.shape[0]

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
        rivals = {"erprm": ours, "eager": eager, "4 chunks, compiled epilogue": chunks}
        if not smoke:
            rivals["eager, torch.compile"] = torch.compile(eager, dynamic=False)
        if device == "cuda":
            rivals |= {"Liger (hard labels)": liger,
                       "cut-cross-entropy (hard labels)": cce}
        flops = 2 * tags * vocabulary * width
        for mode, times in (("forward", 1), ("both", 3)):  # ours makes the gradients in the forward pass
            yield "vocab_loss", shape, mode, {
                name: MODES[mode](form, hidden, head) for name, form in rivals.items()}, None, times * flops


OPS = {"step_loss": step_losses, "log_mean_exp": segments, "vocab_loss": vocabularies}


def forward(form: Callable[..., Tensor], hidden: Tensor, head: Tensor | None, *rest: Tensor) -> common.Run:
    inputs = [tensor.detach() for tensor in (hidden, head) if tensor is not None]
    return lambda: form(*inputs, *rest)


def backward(form: Callable[..., Tensor], hidden: Tensor, head: Tensor | None, *rest: Tensor) -> common.Run:
    leaves = [tensor for tensor in (hidden, head) if tensor is not None]
    made: list[Tensor] = []  # the graph, made at the first run and kept

    def run() -> object:
        if not made:
            made.append(form(*leaves, *rest).sum())
        return torch.autograd.grad(made[0], leaves, retain_graph=True)
    return run


def both(form: Callable[..., Tensor], hidden: Tensor, head: Tensor | None, *rest: Tensor) -> common.Run:
    leaves = [tensor for tensor in (hidden, head) if tensor is not None]

    def run() -> object:
        loss = form(*leaves, *rest).sum()
        return loss.detach(), *torch.autograd.grad(loss, leaves)
    return run


MODES = {"forward": forward, "backward": backward, "both": both}


def rotated(make: Callable[[str], dict[str, common.Run]], mode: str, size: int, device: str,
            ) -> dict[str, list[common.Run]]:
    """The providers of a mode on as many input sets of `size` bytes as the L2 asks for."""
    made = [make(mode) for _ in range(common.input_sets(size, device))]
    return {name: [one[name] for one in made] for name in made[0]}


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--op", choices=[*OPS, "all"], default="all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--budget", type=float, help="seconds; what does not fit is recorded as cut")
    parser.add_argument("--shape", type=int, help="only the shape of this number, from 0; exit code 3 if there is none")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # else torch.compile falls back to eager in silence
    bandwidth, rate = ceilings(given.device, given.smoke)
    print(f"ceilings: copy {bandwidth / 1e9:,.0f} GB/s, matrix product {rate / 1e12:,.2f} TFLOP/s")
    budget, path = common.Budget(given.budget), None
    for name in OPS if given.op == "all" else [given.op]:
        for _, _, _, rivals, _, _ in OPS[name](given.device, True):
            for run in rivals.values():
                (run if callable(run) else run[0])()  # loads libraries, so that the first shape is not charged for it
                break
        shapes: list[object] = []
        for bench, shape, mode, rivals, bytes_, flops in OPS[name](given.device, given.smoke):
            if (bench, shape) not in shapes:
                shapes.append((bench, shape))
            if given.shape is not None and len(shapes) - 1 != given.shape:
                if len(shapes) - 1 > given.shape:
                    break
                continue
            dtype = "bfloat16" if given.device == "cuda" and flops is not None else "float32"
            work = common.Work(bytes_, flops, bandwidth, rate)
            found = common.measure(bench, rivals, shape=shape, dtype=dtype, mode=mode, device=given.device, work=work,
                                   seconds=0.0 if given.smoke else 0.2, least=2 if given.smoke else 10, budget=budget)
            print(common.table(found), flush=True)
            path = common.write(found, given.output)  # after each, so that a later failure loses nothing
    print(f"written to {path}")
    return 3 if path is None else 0


if __name__ == "__main__":
    sys.exit(main())
