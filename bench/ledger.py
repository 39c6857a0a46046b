"""Completions booked per second on one core: intern, schedule, record, count, segment offsets; C++ and plain Python.

    python bench/ledger.py                      # 10^4 .. 10^8 completions in C++, to 10^7 in Python
    pytest bench/test_ledger.py                 # the same calls under pytest-benchmark, smaller

The work is a labelling run: problems of 15 solutions of six steps, of whose prefixes 44 are distinct and open, 16
completions each. An engine's stand-in answers every batch in a shuffled order; its time and the making of the texts do
not count. Every 50th result comes twice. Both sides get what suits them, arrays or lists, ready-made, and must end with
the same numbers. Times are of the processor, of the one thread at work, so that neighbours on the machine do not count.
The sides take turns, each in a process of its own, so that neither works in the memory that the other left behind. A
turn's first run warms up and is not timed; --cold times it alone, with what the system takes to find fresh memory.

Records (bench "ledger"): mode "whole" and its parts "intern", "next", "record", "export". Of the C++ ledger, bytes is
what it holds at the end (`Ledger.bytes`) and peak_memory what the process took at most on top of what it had before:
with the texts and batches that are in work (a few MB), and with what growing takes for a moment.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from erprm._core import Ledger

SOLUTIONS, STEPS, SAMPLES = 15, 6, 16
BATCH = 16_384
PER_PROBLEM = (2 + 4 + 8 + 15 + 15) * SAMPLES
PHASES = ("intern", "next", "record", "export")


def solutions(problem: int) -> list[list[str]]:
    """Steps of about 70 characters; the first are common to several solutions. Equal texts are separate objects."""
    return [[f"Step {j}: by way {min(s >> max(0, 3 - j), s)}, the value that problem {problem} asks for becomes "
             f"{problem * 37 % 1000 + j}." for j in range(STEPS)] for s in range(SOLUTIONS)]


class Clock:
    """Seconds of this thread by phase."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(PHASES, 0.0)

    def time(self, phase: str, call: Callable[[], Any]) -> Any:
        started = time.thread_time()
        result = call()
        self.spent[phase] += time.thread_time() - started
        return result


def prepared(first: int, last: int, as_lists: bool) -> tuple[list[str], Any, list[list[str]], Any]:
    """Problems first .. last - 1, as rows are read: (keys, which of them each solution is to, solutions, outcomes)."""
    count = last - first
    owners, outcomes = np.repeat(np.arange(count), SOLUTIONS), np.tile(np.arange(SOLUTIONS, dtype=np.int32) & 1, count)
    return ([f"problem/{problem}" for problem in range(first, last)], owners.tolist() if as_lists else owners,
            [steps for problem in range(first, last) for steps in solutions(problem)],
            outcomes.tolist() if as_lists else outcomes)


def intern(ledger: Any, keys: list[str], owners: Any, found: list[list[str]], outcomes: Any) -> None:
    roots = ledger.add_problems(keys)
    of = [roots[owner] for owner in owners] if isinstance(roots, list) else roots[owners]
    ledger.add_solutions(of, found, outcomes, True)


def answered(batches: Iterator[tuple[Any, Any, Any]], seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The engine's stand-in: each batch as (nodes, outcomes, samples), shuffled, a fiftieth of it once more."""
    random = np.random.default_rng(seed)
    for nodes, firsts, counts in batches:
        counts = np.asarray(counts)
        total = int(counts.sum())
        ends = np.cumsum(counts)
        samples = np.arange(total) - np.repeat(ends - counts - np.asarray(firsts), counts)
        order = random.permutation(total)
        order = np.concatenate([order, order[: total // 50]])
        outcomes = random.integers(0, 2, total, np.uint8)[order]
        yield np.repeat(np.asarray(nodes, np.int64), counts)[order], outcomes, samples.astype(np.int32)[order]


def run(ledger: Any, completions: int, as_lists: bool) -> tuple[dict[str, float], dict[str, Any]]:
    """Book that many completions, rounded up to whole problems: (seconds by phase, what must agree between ledgers)."""
    clock, problems = Clock(), -(-completions // PER_PROBLEM)
    for first in range(0, problems, 256):
        work = prepared(first, min(problems, first + 256), as_lists)
        clock.time("intern", lambda work=work: intern(ledger, *work))
    clock.time("next", lambda: ledger.want_all(SAMPLES))

    def batches() -> Iterator[tuple[Any, Any, Any]]:
        while len((batch := clock.time("next", lambda: ledger.next(BATCH)))[0]):
            yield batch

    counted = 0
    for arrays in answered(batches(), seed=completions):
        given = [array.tolist() for array in arrays] if as_lists else arrays
        counted += clock.time("record", lambda given=given: ledger.record(*given))
    (k, n), parents, offsets = clock.time("export", lambda: (ledger.counts(), ledger.parents(), ledger.offsets()))
    agreed = {"completions": counted, "successes": int(np.sum(k)), "trials": int(np.sum(n)),
              "prefixes": len(parents), "end": int(offsets[-1]), "checksum": zlib.crc32(np.asarray(k).astype(np.int32))}
    assert counted == problems * PER_PROBLEM
    return clock.spent, agreed


def turn(side: str, size: int, runs: int, cold: bool) -> tuple[list[dict[str, float]], dict[str, Any], int, int]:
    """Runs of one side: (seconds by phase of each, what must agree, bytes the ledger holds, peak memory)."""
    from common import peak_memory
    from ledger_python import PythonLedger

    make, as_lists = {"erprm": (Ledger, False), "plain Python": (PythonLedger, True)}[side]
    spent: list[dict[str, float]] = []
    end: dict[str, Any] = {}
    held = 0

    def once() -> None:
        nonlocal end, held
        ledger: Any = make()
        seconds, end = run(ledger, size, as_lists)
        held = ledger.bytes() if side == "erprm" else 0
        spent.append({**seconds, "whole": sum(seconds.values())})

    peak = peak_memory(once, "cpu") or 0
    for _ in range(0 if cold else runs):
        once()
    return spent[-runs:], end, held, peak


def compare(size: int, python_to: int, cold: bool) -> tuple[list[Any], str]:
    """Records of both sides at one size, measured in turn, and a line about them."""
    from common import Record

    sides = ["erprm", "plain Python"] if size <= python_to else ["erprm"]
    times: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    ends: dict[str, dict[str, Any]] = {}
    held = peak = 0
    turns, runs = (5, 25) if size < 100_000 else (5, 5) if size < 1_000_000 else (3, 3) if size < 10_000_000 else (2, 2)
    for _ in range(turns):
        for side in sides:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                done = process.submit(turn, side, size, 1 if cold else runs, cold)
                found, ends[side], bytes_held, most = done.result()
            times[side] += found
            if side == "erprm":
                held, peak = bytes_held, max(peak, most)
        assert all(end == ends["erprm"] for end in ends.values()), ends
    completions, prefixes = ends["erprm"]["completions"], ends["erprm"]["prefixes"]
    records = []
    for side, runs in times.items():
        for mode in ("whole", *PHASES):
            low, middle, high = np.quantile([spent[mode] for spent in runs], [0.2, 0.5, 0.8]).tolist()
            records.append(Record("ledger", side, mode, {"completions": completions, "n": SAMPLES}, "", "cpu",
                                  p20=low, p50=middle, p80=high, runs=len(runs),
                                  bytes=held if (side, mode) == ("erprm", "whole") else None,
                                  peak_memory=peak if (side, mode) == ("erprm", "whole") else None))
    median = {side: {mode: statistics.median(spent[mode] for spent in runs) for mode in ("whole", *PHASES)}
              for side, runs in times.items()}
    line = (f"{completions:>11,} completions: {completions / median['erprm']['whole'] / 1e6:6.1f} M/s; "
            f"bytes per completion (per prefix): held {held / completions:.1f} ({held / prefixes:.0f}), "
            f"at most in the process {peak / completions:.1f} ({peak / prefixes:.0f})")
    if "plain Python" in median:
        line += f"; Python {completions / median['plain Python']['whole'] / 1e6:.2f} M/s; ratio " + ", ".join(
            f"{mode} {median['plain Python'][mode] / median['erprm'][mode]:.1f}" for mode in ("whole", *PHASES[:3]))
    line += "; ns: " + ", ".join(f"{mode} {median['erprm'][mode] / completions * 1e9:.1f}" for mode in PHASES)
    return records, line


def main() -> None:
    from common import write

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=float, default=1e8, help="completions of the largest run")
    parser.add_argument("--python-to", type=float, default=1e7, help="completions of the largest run in Python")
    parser.add_argument("--cold", action="store_true", help="time the first run of each turn instead of those after it")
    parser.add_argument("--output", type=Path, help="result file; the machine's of today by default")
    parser.add_argument("--smoke", action="store_true", help="the smallest run alone, only to see that it works")
    given = parser.parse_args()
    records, size = [], 10_000
    while size <= (10_000 if given.smoke else given.to):
        found, line = compare(size, int(given.python_to), given.cold)
        records += found
        print(line, flush=True)
        size *= 10
    print(f"wrote {write(records, given.output)}")


if __name__ == "__main__":
    main()
