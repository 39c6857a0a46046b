"""Writes the README's figures from result files, so that none is typed by hand.

    python bench/readme.py                         # the newest CPU result files, and docs/demo.json
    python bench/readme.py --demo runs/demo        # takes the demo's results and figure over first
    python bench/readme.py --check                 # exit code 1 when the README says something else
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DEMO = ROOT / "docs" / "demo.json"
TITLES = {"head": "output-head part of a training step", "train_step": "whole training step",
          "score": "scoring a pool of candidates",
          "score_unrelated": "scoring unrelated rows", "ledger": "completion bookkeeping", "grading": "answer checking"}


def measured(files: Iterable[Path]) -> list[str]:
    """At a bench's largest size, one line per provider of ours and rival: the rival's time and memory over ours."""
    lines = ["| work | size | against | times faster | times less memory |", "|---|---|---|---|---|"]
    machines = set()
    for path in files:
        content = json.loads(path.read_text(encoding="utf-8"))
        machines.add(f"{content['environment']['device']}, {path.name}")
        groups: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
        for record in content["results"]:
            if record["bench"] in TITLES and record["p50"] and record["mode"] in ("both", "whole"):
                shape = ", ".join(f"{name} {value:,}" for name, value in record["shape"].items())
                groups.setdefault(record["bench"], {}).setdefault(shape, []).append(record)
        for bench, shapes in groups.items():
            shape, records = max(shapes.items(), key=lambda item: sum(one["p50"] for one in item[1]))
            for ours in (record for record in records if record["provider"].startswith("erprm")):
                for rival in (record for record in records if not record["provider"].startswith("erprm")):
                    held = [record["peak_memory"] or 0 for record in (rival, ours)]
                    less = f"{held[0] / held[1]:.1f}" if min(held) > 1e6 else ""  # below a megabyte it is noise
                    form = ours["provider"].removeprefix("erprm").lstrip("-, ").replace("-", " ")
                    name = f"{TITLES[bench]}, {form}" if form else TITLES[bench]
                    lines.append(f"| {name} | {shape} | {rival['provider']} | {rival['p50'] / ours['p50']:.1f} "
                                 f"| {less} |")
    return [f"Medians of the same run ({'; '.join(sorted(machines))}); `bench/` has the scripts, `bench/results/` "
            "every record with its spread. No GPU figure is among them: none has been measured.", "", *lines]


def demo(results: Mapping[str, Any]) -> list[str]:
    """What the demo found, in three sentences and a table."""
    table, raft = results["best_of_n"], results["raft"]
    last = table["n"][-1]

    def cell(entry: Mapping[str, Any]) -> str:
        return (f"{100 * entry['accuracy'][-1]:.1f} % [{100 * entry['low'][-1]:.1f}, {100 * entry['high'][-1]:.1f}]")

    minutes = sum(results["seconds"].values()) / 60
    return [
        f"One run of the demo (task {results['task']}, seed {results['seed']}, {results['problems']} held-out "
        f"problems, {minutes:.0f} minutes): a policy of {results['policy']['parameters'] / 1e6:.1f} M parameters "
        f"solves {100 * results['policy']['pass@1']:.1f} % of the problems; this is what choosing among {last} of its "
        f"candidates reaches, with 95 % intervals over problems. RAFT takes pass@1 to {100 * raft['after']:.1f} % "
        f"[{100 * raft['low']:.1f}, {100 * raft['high']:.1f}]. All models were trained once, with one seed; the report "
        "says which differences stand out from noise.",
        "", f"| chosen by | best of {last} |", "|---|---|",
        *(f"| {name} | {cell(entry)} |" for name, entry in table.items() if name != "n")]


def fill(text: str, section: str, lines: list[str]) -> str:
    """`text` with the lines between the section's markers replaced."""
    pattern = rf"(<!-- {section}: begin -->\n).*?(<!-- {section}: end -->)"
    found, count = re.subn(pattern, lambda match: match[1] + "\n".join(lines) + "\n" + match[2], text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"README.md: expected one section '{section}', found {count}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.demo is not None:
        shutil.copyfile(given.demo / "results.json", DEMO)
        shutil.copyfile(given.demo / "best_of_n.png", DEMO.with_name("best_of_n.png"))
    text = README.read_text(encoding="utf-8")
    files = sorted((ROOT / "bench" / "results").glob("cpu-*.json"), key=lambda path: path.stem[-10:])
    files = [path for path in files if path.stem[-10:] == files[-1].stem[-10:]]  # those of the newest date
    filled = fill(fill(text, "demo", demo(json.loads(DEMO.read_text(encoding="utf-8")))), "measured", measured(files))
    if given.check:
        return int(filled != text)
    README.write_text(filled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
