"""Where the time of a training step or of scoring goes, by phase and by kernel.

    table = training(PRMTrainer(model, PRMConfig("out"), rows), steps=5, folder=Path("runs/profile"))
    table = scoring(PRMScorer("runs/prm"), rows, runs=3, folder=Path("runs/profile"))

Both write trace.json into the folder. Every phase is a range of the profiler's and, on a GPU, of NVTX: erprm.collate,
copy, forward, block NN (of the trunk), head and loss, backward (with its communication), optimiser; erprm.score.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.training.layout import sharing
from erprm.prm.training.trainer import PRMTrainer

PREFIX = "erprm."
KERNELS = 25  # lines of the table


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """A named range of the profiler's and, on a GPU, of NVTX."""
    marked = torch.cuda.nvtx.range(PREFIX + name) if torch.cuda.is_available() else contextlib.nullcontext()
    with record_function(PREFIX + name), marked:
        yield


@contextlib.contextmanager
def phases_of(modules: dict[str, nn.Module]) -> Iterator[None]:
    """Each module's forward pass is a phase."""
    opened: list[contextlib.AbstractContextManager[None]] = []

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            opened.append(phase(name))
            opened[-1].__enter__()
        return hook

    def leave(*_: object) -> None:
        opened.pop().__exit__(None, None, None)

    hooks = [hook for name, module in modules.items() for hook in (
        module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave, always_call=True))]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def training(trainer: PRMTrainer, steps: int, folder: Path) -> str:
    """The table of `steps` optimiser steps, after two to warm up. The model is trained by them."""
    model = trainer.accelerator.unwrap_model(trainer.model).train()
    optimiser = trainer.create_optimizer()
    loader = _forever(trainer.get_train_dataloader())
    places: list[int] = []

    def step() -> None:
        with phase("collate"):
            batch = next(loader)
        with phase("copy"):
            batch = trainer._prepare_inputs(batch)
        places.append(batch["input_ids"].numel())
        with phase("forward"), trainer.compute_loss_context_manager():
            loss = model(**batch).loss
        with phase("backward"):
            trainer.accelerator.backward(loss)
        with phase("optimiser"):
            optimiser.step()
            optimiser.zero_grad()

    modules = _blocks(model.model) | ({"head and loss": model.score} if hasattr(model, "score") else {})
    device = trainer.args.device
    with phases_of(modules):
        events, spent = _profiled(step, steps, folder, device)
    data: Any = trainer.train_dataset
    rows = trainer.args.per_device_train_batch_size
    tokens, computed = rows * float(data.lengths.mean()), sum(places[-steps:]) / steps
    parameters = sum(parameter.numel() for parameter in model.model.parameters())
    rate = matrix_rate(device, model.dtype if not trainer.args.bf16 else torch.bfloat16)
    flops = 6 * parameters * computed
    lines = [f"{spent * 1e3:.2f} ms a step of {rows} rows, {tokens / spent:,.0f} tokens/s",
             f"model FLOPs: {flops / spent / 1e12:.4g} TFLOP/s, {flops / spent / rate:.1%} of the matrix rate measured "
             f"here ({rate / 1e12:.4g} TFLOP/s)",
             f"layout {trainer.layout}: {tokens / computed:.0%} row tokens per place computed; shared prefixes would "
             f"save {sharing(data).saving:.0%}"]
    return _table(events, spent, steps, lines, rate)


def scoring(scorer: PRMScorer, rows: Sequence[tuple[str, list[str]]], runs: int, folder: Path) -> str:
    """The table of scoring the rows `runs` times, after two to warm up."""
    device: torch.device = scorer.forward.device  # type: ignore[union-attr]
    base: nn.Module = scorer.forward.base  # type: ignore[union-attr]

    def run() -> None:
        with phase("score"):
            scorer.score(rows)

    with phases_of(_blocks(base)):
        events, spent = _profiled(run, runs, folder, device)
    tokens = sum(len(row.ids) for row in scorer.checkpoint.convention.encode(rows))
    rate = matrix_rate(device, next(base.parameters()).dtype)
    lines = [f"{spent * 1e3:.2f} ms for {len(rows)} rows, {tokens / spent:,.0f} tokens/s, "
             f"{len(rows) / spent:,.1f} rows/s"]
    return _table(events, spent, runs, lines, rate)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large matrix product."""
    side = 8192 if device.type == "cuda" else 768
    left = torch.randn(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        _wait(device)
        started = time.perf_counter()
        left @ left
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def _profiled(run: Callable[[], None], times: int, folder: Path, device: torch.device) -> tuple[Any, float]:
    """The profiler's events by name, and the seconds of one run; writes trace.json."""
    for _ in range(2):
        run()
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    folder.mkdir(parents=True, exist_ok=True)
    with profile(activities=activities, profile_memory=True, with_flops=True) as profiler:
        _wait(device)
        started = time.perf_counter()
        for _ in range(times):
            run()
        _wait(device)
        spent = (time.perf_counter() - started) / times
    profiler.export_chrome_trace(str(folder / "trace.json"))
    return profiler.key_averages(), spent


def _table(events: Any, spent: float, times: int, lines: list[str], rate: float) -> str:
    gpu = torch.cuda.is_available()

    def milliseconds(event: Any, own: bool) -> float:
        name = f"{'self_' if own else ''}{'device' if gpu else 'cpu'}_time_total"
        return float(getattr(event, name)) / 1e3 / times

    phases = [event for event in events if event.key.startswith(PREFIX)]
    kernels = [event for event in events if not event.key.startswith(PREFIX) and milliseconds(event, own=True) > 0]
    made = [*lines, "", f"{'phase':24} {'ms':>10} {'share':>7}"]
    for event in sorted(phases, key=lambda event: str(event.key)):
        value = milliseconds(event, own=False)
        made.append(f"{event.key.removeprefix(PREFIX):24} {value:10.3f} {value / 1e3 / spent:7.1%}")
    made += ["", f"{'kernel':48} {'calls':>7} {'ms':>10} {'share':>7} {'MB':>10} {'of the matrix rate':>19}"]
    for event in sorted(kernels, key=lambda event: -milliseconds(event, own=True))[:KERNELS]:
        value = milliseconds(event, own=True)
        share = f"{event.flops / times / (value / 1e3) / rate:.1%}" if event.flops else ""
        memory = getattr(event, f"self_{'device' if gpu else 'cpu'}_memory_usage") / times / 1e6
        made.append(f"{event.key[:48]:48} {event.count / times:7.0f} {value:10.3f} {value / 1e3 / spent:7.1%} "
                    f"{memory:10.2f} {share:>19}")
    return "\n".join(made) + "\n"


def _blocks(base: nn.Module) -> dict[str, nn.Module]:
    """The trunk's blocks by name."""
    layers = getattr(base, "layers", None)
    return {f"block {place:02}": layer for place, layer in enumerate(layers)} if layers is not None else {}


def _forever(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
