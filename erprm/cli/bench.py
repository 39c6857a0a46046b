"""Run a benchmark, or compare two result files.

    erprm bench --run head                              # the output-head part of a training step, on this machine
    erprm bench --run all --smoke                       # every one, at sizes that only show that they run
    erprm bench --compare before.json after.json        # what changed beyond noise

Result files are what `--run`, `make bench` and `make gpu` write under bench/results/. A difference counts when the
middle (p50) moved by more than 5 % and the p20-p80 ranges do not overlap.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm.cli.config import option
from erprm.errors import InputError

SCRIPTS = ("head", "kernels", "train_step", "score", "ledger", "grading")  # under bench/
THRESHOLD = 0.05
Key = tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """Options of `erprm bench`."""

    compare: tuple[str, ...] | None = option(None, help="two result files: before and after")
    run: str | None = option(None, help="a script under bench/, or all of them", choices=(*SCRIPTS, "all"))
    smoke: bool = option(False, help="tiny sizes, to see that it runs")
    out: str | None = option(None, help="result file (default: bench/results/<machine>-<date>.json)",
                             aliases=("output",), writes="file")


def run(config: Config) -> int:
    """Compare or run; exit code 1 when a benchmark failed. Raises InputError."""
    if (config.compare is None) == (config.run is None):
        raise InputError("bench: expected either --compare BEFORE AFTER or --run NAME")
    if config.compare is not None:
        if len(config.compare) != 2:
            raise InputError(f"compare: expected two result files, found {len(config.compare)}")
        before, after = (read(Path(name)) for name in config.compare)
        print("\n".join(differences(before, after)))
        return 0
    folder = Path(__file__).resolve().parents[2] / "bench"
    if not folder.is_dir():
        raise InputError(f"run: expected a source checkout with its bench/ folder, found no {folder}")
    flags = [*(["--smoke"] if config.smoke else []), *(["--output", config.out] if config.out else [])]
    names = SCRIPTS if config.run == "all" else (config.run,)
    return max(subprocess.run([sys.executable, str(folder / f"{name}.py"), *flags], check=False).returncode
               for name in names)


def read(path: Path) -> dict[Key, dict[str, Any]]:
    """The records of a result file by bench, shape, dtype, device, mode and provider. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        records = json.loads(path.read_text(encoding="utf-8"))["results"]
        return {(record["bench"], " ".join(f"{name}={value}" for name, value in sorted(record["shape"].items())),
                 record["dtype"], record["device"], record["mode"], record["provider"]): record for record in records}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a benchmark result file ({type(error).__name__}: {error})") from error


def differences(before: dict[Key, dict[str, Any]], after: dict[Key, dict[str, Any]]) -> list[str]:
    """One line per record that changed beyond noise, failed, or is in one file only; then a summary."""
    lines, same = [], 0
    for key in sorted(before.keys() | after.keys()):
        name = ", ".join(part for part in key if part)
        if key not in before or key not in after:
            lines.append(f"{'only before' if key in before else 'only after'}: {name}")
            continue
        old, new = before[key], after[key]
        if old.get("p50") is None or new.get("p50") is None:
            if old.get("error") != new.get("error"):
                lines.append(f"failed {'before' if old.get('p50') is None else 'after'}: {name}: "
                             f"{old.get('error') or new.get('error')}")
            continue
        ratio = new["p50"] / old["p50"]
        apart = new["p20"] > old["p80"] or new["p80"] < old["p20"]
        if abs(ratio - 1) <= THRESHOLD or not apart:
            same += 1
            continue
        word, factor = ("slower", ratio) if ratio > 1 else ("faster", 1 / ratio)
        lines.append(f"{factor:.2f} x {word}: {name}: {old['p50'] * 1e3:.4g} ms -> {new['p50'] * 1e3:.4g} ms")
    return [*lines, f"{same} unchanged within noise, {len(lines)} differ"]
