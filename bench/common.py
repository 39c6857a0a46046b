"""The harness that every benchmark shares: interleaved timing, peak memory, the result file and its table.

    results = [measure(bench, {"ours": run_ours, "eager": run_eager}, shape={"M": 123}, dtype="float32", mode="both")]
    write(results, "head")                    # bench/results/<machine>-<date>.json, merged with what is there

A result file holds the environment and one record per bench, provider, shape and mode: p20, p50 and p80 in seconds,
bytes and FLOPs counted, share of the bound, extra peak memory in bytes, L2 policy, and the error of what failed.
"""

from __future__ import annotations

import dataclasses
import datetime
import gc
import json
import platform
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
FLUSH_BYTES = 256 << 20  # written between timings on a GPU, larger than any L2


@dataclasses.dataclass
class Record:
    """One provider's timing of one bench at one shape."""

    bench: str
    provider: str
    mode: str
    shape: dict[str, int]
    dtype: str
    device: str
    p20: float | None = None
    p50: float | None = None
    p80: float | None = None
    runs: int = 0
    bytes: int | None = None
    flops: int | None = None
    bound_share: float | None = None
    peak_memory: int | None = None
    l2: str = "none"
    error: str | None = None

    def key(self) -> tuple[str, ...]:
        shape = ",".join(f"{name}={value}" for name, value in sorted(self.shape.items()))
        return self.bench, self.provider, self.mode, shape, self.dtype, self.device


@dataclasses.dataclass(frozen=True)
class Work:
    """What a bench must move and compute at least, and the machine's ceilings (bytes/s, FLOP/s); None: not known."""

    bytes: int | None = None
    flops: int | None = None
    bandwidth: float | None = None
    rate: float | None = None

    def bound(self) -> float | None:
        times = [work / ceiling for work, ceiling in ((self.bytes, self.bandwidth), (self.flops, self.rate))
                 if work is not None and ceiling is not None]
        return max(times, default=None)


def measure(bench: str, providers: Mapping[str, Callable[[], object]], *, shape: dict[str, int], dtype: str,
            mode: str = "both", device: str = "cpu", seconds: float = 2.0, least: int = 3, work: Work | None = None,
            ) -> list[Record]:
    """Time the providers in turn until `seconds` each are spent and at least `least` runs are made, after one warm-up.

    A provider that runs out of memory or that cannot express the shape is recorded with its error.
    """
    work = work or Work()
    records, alive, times = {}, {}, {}
    for name, run in providers.items():
        record = Record(bench, name, mode, shape, dtype, device, bytes=work.bytes, flops=work.flops,
                        l2="flushed" if device == "cuda" else "none")
        records[name] = record
        try:
            record.peak_memory = peak_memory(run, device)  # also the warm-up
        except (RuntimeError, ValueError, ImportError) as error:
            record.error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            continue
        alive[name], times[name] = run, []
    while any(len(times[name]) < least or sum(times[name]) < seconds for name in alive):
        for name, run in alive.items():
            if len(times[name]) < least or sum(times[name]) < seconds:
                times[name].append(once(run, device))
    for name, spent in times.items():
        values = torch.tensor(spent, dtype=torch.float64).quantile(torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64))
        record = records[name]
        record.p20, record.p50, record.p80 = values.tolist()
        record.runs = len(spent)
        bound = work.bound()
        record.bound_share = None if bound is None else bound / values[1].item()
    return list(records.values())


_flush: dict[str, torch.Tensor] = {}


def once(run: Callable[[], object], device: str) -> float:
    """Seconds of one run: by events on a GPU, after its L2 was overwritten."""
    if device != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    if device not in _flush:
        _flush[device] = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    _flush[device].fill_(1)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def peak_memory(run: Callable[[], object], device: str) -> int | None:
    """Bytes that one run needs on top of what is there before; None where the machine does not tell."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not (status.exists() and reset.exists()):
        run()
        return None
    reset.write_text("5")  # the high-water mark starts again from what is resident now

    def read(name: str) -> int:
        found = re.search(rf"{name}:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) * 1024

    before = read("VmRSS")
    run()
    return max(0, read("VmHWM") - before)


def environment() -> dict[str, Any]:
    """Commit, device and library versions."""
    import importlib.metadata

    def git(*arguments: str) -> str:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=RESULTS.parent)
        return ran.stdout.strip() if ran.returncode == 0 else ""

    versions = {}
    for name in ("torch", "triton", "transformers", "liger-kernel", "trl", "vllm"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    gpu = torch.cuda.is_available()
    driver = ""
    if gpu:
        asked = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                               capture_output=True, text=True, check=False)
        driver = asked.stdout.strip()
    return {"date": datetime.datetime.now(tz=datetime.UTC).isoformat(timespec="seconds"),
            "commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
            "device": torch.cuda.get_device_name() if gpu else platform.machine(), "threads": torch.get_num_threads(),
            "driver": driver, "python": platform.python_version(), "versions": versions}


def default_path() -> Path:
    """bench/results/<machine>-<date>.json."""
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu-{platform.machine()}"
    name = re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")
    return RESULTS / f"{name}-{datetime.datetime.now(tz=datetime.UTC).date()}.json"


def write(records: list[Record], path: Path | None = None) -> Path:
    """Merge the records into the file (same bench, provider, shape and mode: replaced) and rename it into place."""
    path = path or default_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    merged = {record.key(): record for record in read(path)} if path.exists() else {}
    merged |= {record.key(): record for record in records}
    content = {"environment": environment(), "results": [dataclasses.asdict(record) for record in merged.values()]}
    beside = path.with_suffix(".tmp")
    beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)
    return path


def read(path: Path) -> list[Record]:
    """The records of a result file."""
    return [Record(**record) for record in json.loads(path.read_text(encoding="utf-8"))["results"]]


def table(records: list[Record]) -> str:
    """The records as Markdown."""
    lines = ["| bench | shape | dtype | mode | provider | p50 | p20-p80 | extra memory | of bound |",
             "|---|---|---|---|---|---|---|---|---|"]
    for record in records:
        shape = " ".join(f"{name}={value:,}" for name, value in record.shape.items())
        start = f"| {record.bench} | {shape} | {record.dtype} | {record.mode} | {record.provider} |"
        if record.error is not None or record.p50 is None or record.p20 is None or record.p80 is None:
            lines.append(f"{start} {record.error} | | | |")
            continue
        memory = "" if record.peak_memory is None else f"{record.peak_memory / 1e6:,.1f} MB"
        share = "" if record.bound_share is None else f"{record.bound_share:.0%}"
        spread = f"{seconds(record.p20)}-{seconds(record.p80)}"
        lines.append(f"{start} {seconds(record.p50)} | {spread} | {memory} | {share} |")
    return "\n".join(lines)


def seconds(value: float) -> str:
    """Three digits with a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"
