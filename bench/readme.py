"""Writes the README's figures from result files, so that none is typed by hand.

    python bench/readme.py                         # the newest CPU result files, and docs/demo.json
    python bench/readme.py --demo runs/demo        # first takes over what `erprm demo --seeds 3` wrote
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


def demo(runs: list[Mapping[str, Any]]) -> list[str]:
    """What runs of the demo with several seeds found, in a few sentences and a table."""
    tables = [run["best_of_n"] for run in runs]
    last = tables[0]["n"][-1]
    names = [name for name in tables[0] if name != "n"]
    found = {name: [100 * table[name]["accuracy"][-1] for table in tables] for name in names}
    half = max(50 * (table[name]["high"][-1] - table[name]["low"][-1]) for table in tables for name in names)
    seeds = [str(run["seed"]) for run in runs]

    def span(values: list[float]) -> str:
        return f"{min(values):.1f} to {max(values):.1f}"

    task, problems, parameters = runs[0]["task"], runs[0]["problems"], runs[0]["policy"]["parameters"] / 1e6
    alone = span([100 * run["policy"]["pass@1"] for run in runs])
    gains = span([100 * run["raft"]["gain"]["difference"] for run in runs])
    return [
        f"The demo, run with seeds {', '.join(seeds)} (task {task}, {problems} held-out problems each, all models "
        f"trained anew): a policy of {parameters:.1f} M parameters solves {alone} % of the problems; this is what "
        f"choosing among {last} of its candidates reaches. Over problems, the 95 % interval of one figure is "
        f"±{half:.0f} points or less. RAFT gains {gains} points of pass@1.",
        "", " | ".join([f"| best of {last}, chosen by", f"mean of {len(runs)} seeds, %",
                        *(f"seed {seed}" for seed in seeds)]) + " |",
        "|---|---|" + "---|" * len(runs),
        *(f"| {name} | {sum(values) / len(values):.1f} | {' | '.join(f'{value:.1f}' for value in values)} |"
          for name, values in found.items())]


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
        runs = sorted(given.demo.glob("seed-*/results.json"), key=lambda path: int(path.parent.name[len("seed-"):]))
        if not runs:
            raise SystemExit(f"{given.demo}: expected the folders seed-* of `erprm demo --seeds N`, found none")
        DEMO.write_text(json.dumps([json.loads(path.read_text(encoding="utf-8")) for path in runs], indent=1) + "\n",
                        encoding="utf-8")
        shutil.copyfile(next(given.demo.glob("best_of_n-*.png")), DEMO.with_name("best_of_n.png"))
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
