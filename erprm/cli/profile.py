"""Profile training or scoring with your model and rows, or one operation, with torch.profiler.

    erprm profile train --model policy/ --data labels/rows.parquet --out runs/profile
    erprm profile score --model runs/prm --data rows.jsonl
    erprm profile --step step_loss --device cuda

Writes trace.json (Chrome trace with the memory timeline; open it in Perfetto) and kernels.txt: a table by phase
(collate, copy, forward, each block of the trunk, head and loss, backward, optimiser) and one by kernel, with tokens/s,
the share of the measured matrix rate, and the shares of padding and of shared prefixes. On a GPU the table is by device
time, each phase carries an NVTX range, and the `nsys` and `ncu` commands for the same step are printed. For one
operation the share of the bound is the time that its least traffic takes at the machine's copy bandwidth, over the time
spent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from erprm.cli.config import option
from erprm.errors import InputError

STEPS = ("step_loss", "vocab_loss", "log_mean_exp")


@dataclass(frozen=True)
class Config:
    """Options of `erprm profile`."""

    what: str | None = option(None, help="train or score; without it one operation (--step)",
                              choices=("train", "score"), positional=True)
    model: str | None = option(None, help="for train a causal language model or PRM, for score a PRM")
    data: str | None = option(None, help="rows for train and score: .jsonl or .parquet")
    batch_size: int = option(8, help="rows in a training step", least=1)
    layout: str = option("auto", help="for train: as in `erprm train`")
    bf16: bool = option(False, help="for train: bf16 mixed precision")
    step: str = option("step_loss", help="the operation to profile", choices=STEPS)
    out: str = option("runs/profile", help="folder for trace.json and kernels.txt", aliases=("output",),
                      writes="folder")
    device: str = option("cpu", help="cpu or cuda", choices=("cpu", "cuda"))
    tags: int = option(512, least=1, help="step tags M")
    width: int = option(1024, least=1, help="hidden units D")
    vocabulary: int = option(8192, least=1, help="tokens V, for vocab_loss")
    repeats: int = option(5, least=1, help="profiled runs, after two to warm up")


def run(config: Config) -> None:
    """Write the trace and the table. Raises InputError."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    gpu = config.device == "cuda"
    if gpu and not torch.cuda.is_available():
        raise InputError("device: expected a CUDA device on this machine, found none")
    if config.what is not None:
        _whole(config)
        return
    step, least = build(config)
    for _ in range(2):
        step(lambda name: nullcontext())
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if gpu else [])

    def ranged(name: str) -> AbstractContextManager[object]:
        if gpu:
            return torch.cuda.nvtx.range(f"erprm.{name}")  # type: ignore[no-any-return,no-untyped-call]
        return torch.profiler.record_function(f"erprm.{name}")

    with profile(activities=activities, record_shapes=True) as profiler:
        started = time.perf_counter()
        for _ in range(config.repeats):
            step(ranged)
        if gpu:
            torch.cuda.synchronize()
        spent = (time.perf_counter() - started) / config.repeats
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(folder / "trace.json"))
    order = "self_cuda_time_total" if gpu else "self_cpu_time_total"
    bandwidth = copy_bandwidth(config.device)
    summary = (f"{config.step}: {spent * 1e3:.3f} ms a run; least traffic {least / 1e6:.2f} MB; copy bandwidth "
               f"{bandwidth / 1e9:.0f} GB/s; {least / bandwidth / spent:.1%} of the bound")
    table = f"{profiler.key_averages().table(sort_by=order, row_limit=25)}\n{summary}\n"
    (folder / "kernels.txt").write_text(table, encoding="utf-8")
    print(table)
    if gpu:
        print(f"ncu --nvtx --nvtx-include 'erprm.*/' --set full -o {folder / 'kernels'} "
              f"erprm profile --step {config.step} --device cuda --tags {config.tags} --width {config.width}")
    print(f"written to {folder}/trace.json and {folder}/kernels.txt")


def _whole(config: Config) -> None:
    """Profile training or scoring of the user's model and rows."""
    for name in ("model", "data"):
        if getattr(config, name) is None:
            raise InputError(f"{name}: expected together with {config.what}, found none")
    assert config.model is not None
    assert config.data is not None
    if not Path(config.data).is_file():
        raise InputError(f"data: {config.data}: no such file")
    from erprm.prm import profiling

    folder = Path(config.out)
    if config.what == "train":
        from erprm.prm.training.config import PRMConfig
        from erprm.prm.training.trainer import PRMTrainer

        args = PRMConfig(str(folder), per_device_train_batch_size=config.batch_size, layout=config.layout,
                         bf16=config.bf16, use_cpu=config.device == "cpu", report_to="none", save_strategy="no")
        table = profiling.training(PRMTrainer(config.model, args, config.data), config.repeats, folder)
    else:
        from erprm.prm.scoring.scorer import PRMScorer
        from erprm.rows import read_rows

        rows = [(row.prompt, list(row.steps)) for row in read_rows(config.data)]
        table = profiling.scoring(PRMScorer(config.model, device=config.device), rows, config.repeats, folder)
    (folder / "kernels.txt").write_text(table, encoding="utf-8")
    print(table)
    command = f"erprm profile {config.what} --model {config.model} --data {config.data} --device cuda"
    print(f"nsys profile -t cuda,nvtx -o {folder / 'timeline'} {command}")
    print(f"ncu --nvtx --nvtx-include 'erprm.*/' --set full -o {folder / 'kernels'} {command} --repeats 1")
    print(f"written to {folder}/trace.json and {folder}/kernels.txt")


def build(config: Config) -> tuple[Callable[[Callable[[str], AbstractContextManager[object]]], None], int]:
    """The step, as a function of what opens a named range, and the least bytes that one run must move."""
    import torch

    from erprm import kernels

    torch.manual_seed(0)
    dtype = torch.bfloat16 if config.device == "cuda" else torch.float32
    tags, width = config.tags, config.width

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device=config.device, dtype=dtype)

    if config.step == "log_mean_exp":
        offsets = torch.arange(tags * 16 + 1, device=config.device) * 16
        values = torch.rand(tags * 256, device=config.device)

        def reduce(ranged: Callable[[str], AbstractContextManager[object]]) -> None:
            with ranged("forward"):
                kernels.log_mean_exp(values, offsets, 2.0)
        return reduce, 4 * values.numel() + 12 * offsets.numel()
    positions, targets = torch.arange(tags, device=config.device), torch.rand(tags, device=config.device)
    hidden = random(tags, width).requires_grad_()
    rows = 2 if config.step == "step_loss" else config.vocabulary
    head = random(rows, width).requires_grad_()

    def train(ranged: Callable[[str], AbstractContextManager[object]]) -> None:
        with ranged("forward"):
            if config.step == "step_loss":
                loss, _ = kernels.step_loss(hidden, head, positions, targets=targets)
            else:
                loss, _ = kernels.vocab_loss(hidden, head, positions, targets=targets, label_ids=(0, 1))
        with ranged("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        hidden.grad = head.grad = None
    return train, hidden.element_size() * 2 * (hidden.numel() + head.numel()) + 12 * tags


def copy_bandwidth(device: str) -> float:
    """Bytes/s of a large copy, counting read and written."""
    import torch

    source = torch.rand(1 << 24, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(5):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * source.numel() * source.element_size() / best
