"""The harness that every benchmark shares: interleaved timing, peak memory, the result file and its table.

    results = [measure(bench, {"ours": run_ours, "eager": run_eager}, shape={"M": 123}, dtype="float32", mode="both")]
    write(results, "head")                    # bench/results/<machine>-<date>.json, merged with what is there

A result file holds the environment and one record per bench, provider, shape and mode: p20, p50 and p80 in seconds,
bytes and FLOPs counted, share of the bound, extra peak memory in bytes, L2 policy, timer, and the error of what failed.

On a GPU a provider may be a list of runs, one per input set: sets larger together than the L2 take turns. All runs, at
least ten, are captured into one CUDA graph whose replay gives p20, p50 and p80: the time of the GPU alone. What the
host adds is in `wall_p50`, timed from call to synchronisation. What cannot be captured is timed by events, after a read
of more than the L2 holds (a write would leave dirty lines, written back during the next run). Everything runs on the
stream that is captured. Before the first run the allocator's memory is filled with NaN, and results must be finite.
"""

from __future__ import annotations

import dataclasses
import datetime
import gc
import itertools
import json
import math
import os
import platform
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from erprm.demo.settings import DemoSettings
from erprm.files.writing import atomic_write

if TYPE_CHECKING:
    from erprm.demo.recipe import Lab

RESULTS = Path(__file__).parent / "results"
FLUSH_BYTES = 256 << 20  # read between timings on a GPU, larger than any L2
GRAPH_RUNS = 10  # at least, in a graph


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
    wall_p50: float | None = None
    runs: int = 0
    bytes: int | None = None
    flops: int | None = None
    bound_share: float | None = None
    peak_memory: int | None = None
    l2: str = "none"
    timer: str = "wall"
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


Run = Callable[[], object]


class Budget:
    """Seconds that a bench script may still spend; None: no limit."""

    def __init__(self, seconds: float | None) -> None:
        self.end = None if seconds is None else time.monotonic() + seconds

    def spent(self) -> bool:
        return self.end is not None and time.monotonic() >= self.end


def measure(bench: str, providers: Mapping[str, Run | Sequence[Run]], *, shape: dict[str, int], dtype: str,
            mode: str = "both", device: str = "cpu", seconds: float = 2.0, least: int = 3, work: Work | None = None,
            budget: Budget | None = None) -> list[Record]:
    """Time the providers in turn until `seconds` each are spent and at least `least` runs are made, after one warm-up.

    A provider that runs out of memory or that cannot express the shape is recorded with its error, and so is one that
    the budget cut off before its first run.
    """
    stream = torch.cuda.stream(torch.cuda.Stream()) if device == "cuda" else nullcontext()
    with stream:
        return _measure(bench, providers, shape, dtype, mode, device, seconds, least, work or Work(),
                        budget or Budget(None))


def _measure(bench: str, providers: Mapping[str, Run | Sequence[Run]], shape: dict[str, int], dtype: str, mode: str,
             device: str, seconds: float, least: int, work: Work, budget: Budget) -> list[Record]:
    records, alive, times = {}, {}, {}
    for name, given in providers.items():
        runs = [given] if callable(given) else list(given)
        record = Record(bench, name, mode, shape, dtype, device, bytes=work.bytes, flops=work.flops)
        records[name] = record
        if budget.spent():
            record.error = "cut: the script's time was spent"
            continue
        try:
            if device == "cuda":
                poison(device)
                refuse_nan(runs[0]())
            record.peak_memory = peak_memory(runs[0], device)  # also the warm-up
            alive[name], times[name] = timed(runs, device, record, rotates=not callable(given)), []
        except (RuntimeError, ValueError, ImportError, TypeError) as error:
            record.error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    spent, waiting = dict.fromkeys(alive, 0.0), set(alive)
    while waiting:
        for name in [name for name in alive if name in waiting]:
            began = time.perf_counter()
            times[name].append(alive[name]())
            spent[name] += time.perf_counter() - began
            enough = len(times[name]) >= least and spent[name] >= seconds
            if enough or (budget.spent() and len(times[name]) >= 3):
                waiting.discard(name)
    for name, found in times.items():
        values = torch.tensor(found, dtype=torch.float64).quantile(torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64))
        record = records[name]
        record.p20, record.p50, record.p80 = values.tolist()
        record.runs = len(found)
        bound = work.bound()
        record.bound_share = None if bound is None else bound / values[1].item()
    return list(records.values())


def timed(runs: Sequence[Run], device: str, record: Record, rotates: bool) -> Callable[[], float]:
    """What gives the seconds of one run at each call, by the timer that suits; says in the record which it is."""
    if device != "cuda":
        return lambda: once(runs[0], device)
    turns = itertools.cycle(runs)
    for run in runs:
        run()
    record.wall_p50 = wall(turns)
    try:
        many = list(runs) * math.ceil(GRAPH_RUNS / len(runs)) if rotates else [runs[0]]
        graph = capture(many)
    except RuntimeError as error:
        torch.cuda.synchronize()
        record.l2 = "flushed by reading"
        record.timer = f"events (not captured: {' '.join(str(error).split())[:120]})"
        return lambda: once(next(turns), device)
    record.timer, record.l2 = f"graph of {len(many)} runs", f"{len(runs)} input sets in turn"
    return lambda: elapsed(graph.replay) / len(many)


def wall(turns: Iterator[Run], times: int = 5) -> float:
    """Median seconds from a call until the device has done it."""
    found = []
    for _ in range(times):
        torch.cuda.synchronize()
        start = time.perf_counter()
        next(turns)()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - start)
    return sorted(found)[times // 2]


def capture(runs: Sequence[Run]) -> torch.cuda.CUDAGraph:
    """All runs, one after the other, as a CUDA graph of the current stream. Raises RuntimeError where they cannot be
    captured; later captures of the process may then fail too, so a process measures one shape."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        for run in runs:
            run()
    graph.replay()
    torch.cuda.synchronize()
    return graph


def input_sets(size: int, device: str) -> int:
    """How many input sets of `size` bytes are at least twice the L2 of the device; 1 on the CPU, at most 64."""
    if device != "cuda":
        return 1
    cache: int = torch.cuda.get_device_properties(0).L2_cache_size
    return max(1, min(64, math.ceil(2 * cache / max(size, 1))))


def poison(device: str) -> None:
    """Fill memory that the allocator will hand out next with NaN, so that an element nobody wrote shows."""
    blocks = [torch.full((count,), float("nan"), device=device) for count in (1 << 28, 1 << 22, 1 << 14, 1 << 6)]
    del blocks


def refuse_nan(result: object) -> None:
    """Raises ValueError if a tensor among the results is not finite."""
    results = result if isinstance(result, (tuple, list)) else (result,)
    for tensor in results:
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError("the result is not finite")


_flush: dict[str, torch.Tensor] = {}


def once(run: Callable[[], object], device: str) -> float:
    """Seconds of one run: by events on a GPU, after more than its L2 holds was read."""
    if device != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    if device not in _flush:
        _flush[device] = torch.zeros(FLUSH_BYTES, dtype=torch.uint8, device=device)
    _flush[device].amax()
    return elapsed(run)


def elapsed(run: Callable[[], object]) -> float:
    """Seconds between two events around a run."""
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
    for name in ("torch", "triton", "transformers", "liger-kernel", "cut-cross-entropy", "trl", "vllm"):
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
            "commit": git("rev-parse", "HEAD") or os.environ.get("ERPRM_COMMIT", ""),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
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
    merged = {record.key(): record for record in read(path)} if path.exists() else {}
    merged |= {record.key(): record for record in records}
    save(path, {"environment": environment(), "results": [dataclasses.asdict(record) for record in merged.values()]})
    return path


def demo_settings(demo: Path) -> DemoSettings:
    """What the finished demo, or the policy of a study, in a folder was made with."""
    about = json.loads((demo / "stages.json").read_text(encoding="utf-8"))["settings"]
    return DemoSettings(**about | {"etas": tuple(about.get("etas", DemoSettings.etas))})


def study_lab(study: Path, task: str, policy: int) -> Lab:
    """A study's policy with its labels and pools, and the study's schedule for reward models."""
    from erprm.demo.recipe import Lab  # not where kernels alone are timed: what these import may not be there
    from erprm.study.run import StudySettings

    base = study / "work" / task / f"policy-{policy}"
    trained = StudySettings().demo
    return Lab(base, dataclasses.replace(demo_settings(base), prm_steps=trained.prm_steps,
                                         evaluations=trained.evaluations, patience=trained.patience))


def write_result(path: Path | None, result: Mapping[str, Any]) -> None:
    """What a script measured into its file, and a line that says where; nothing where no path was given."""
    if path is not None:
        save(path, result)
        print(f"written to {path}")


def save(path: Path, content: Mapping[str, Any]) -> None:
    """JSON, renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


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
        if record.wall_p50 is not None:
            memory += f" (wall {seconds(record.wall_p50)})"
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
