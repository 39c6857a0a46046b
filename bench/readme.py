"""Writes the figures of README.md and two more pages from result files, so that none is typed by hand.

    python bench/readme.py                         # the newest CPU result files, and docs/demo.json
    python bench/readme.py --demo runs/demo        # first takes over what `erprm demo --seeds 3` wrote
    python bench/readme.py --check                 # exit code 1 when a page says something else
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import findings

from erprm.evaluation.figures import new_figure, save_png

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "bench" / "results"
DEMO = ROOT / "docs" / "demo.json"
NAMES = {"orm": "outcome (ORM)", "soft": "soft, k/n", "hard": "hard", "majority": "majority vote",
         "weighted_majority": "weighted majority", "pass@n": "any right (pass@N)"}
TITLES = {"head": "output head, forward and backward", "train_step": "whole training step",
          "train_step_262k": "whole training step, 262k vocabulary", "score": "scoring a pool of candidates",
          "score_262k": "scoring, 262k vocabulary", "score_unrelated": "scoring unrelated rows",
          "ledger": "completion bookkeeping", "grading": "answer checking"}

Record = Mapping[str, Any]


def display_name(name: str) -> str:
    """A selector as people write it: er_eta_2 is "ER, η = 2"."""
    return re.sub(r"^er_eta_(.+)$", r"ER, η = \1", NAMES.get(name, name))


def newest() -> tuple[list[Record], str]:
    """The records of the CPU files of the newest date, and that date."""
    files = sorted(RESULTS.glob("cpu-*.json"), key=lambda path: path.stem[-10:])
    date = files[-1].stem[-10:]
    records: list[Record] = []
    for path in files:
        if path.stem[-10:] == date:
            records += json.loads(path.read_text(encoding="utf-8"))["results"]
    return records, date


def largest(records: Sequence[Record], bench: str) -> dict[str, Record]:
    """By provider, a bench's timed records at the size that took longest."""
    sizes: dict[str, dict[str, Record]] = {}
    for record in records:
        if record["bench"] == bench and record["p50"] and record["mode"] in ("both", "whole"):
            sizes.setdefault(str(record["shape"]), {})[record["provider"]] = record
    return max(sizes.values(), key=lambda found: sum(record["p50"] for record in found.values()), default={})


def two_digits(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.{0 if value >= 9.95 else 1}f}"


def ratio(rival: Record, ours: Record, key: str = "p50") -> str:
    """How many times more of `key` the rival takes."""
    return f"{two_digits(rival[key] / ours[key])} ×"


def six_rows() -> list[str]:
    """What a user asks first, one line each."""
    records, date = newest()
    step, pool, grading = (largest(records, bench) for bench in ("train_step", "score", "grading"))
    ours = min((step["erprm"], step["erprm-shared"]), key=lambda record: record["p50"])
    rivals = {name: record for name, record in step.items() if not name.startswith("erprm") and name != "paper"}
    best, leanest = (min(rivals.values(), key=lambda record: record[key]) for key in ("p50", "peak_memory"))
    tokens = {setting["solutions_each"]: setting["share_of_tokens_at_equal_rmse"]["adaptive, posterior mean"]
              for setting in json.loads((RESULTS / "adaptive_labels.json").read_text(encoding="utf-8"))["settings"]}
    served = [json.loads(path.read_text(encoding="utf-8"))["served_difference"] for path in RESULTS.glob("real-*.json")]
    label = {"trl": "TRL's form", "eager": "gathered rows, eager", "liger": "Liger, packed"}
    lines = [
        f"Two CPU cores (x86-64, {date}), medians, rivals in the same run.", "",
        "| work | against | result |", "|---|---|---|",
        f"| whole training step, 128k vocabulary | {label[best['provider']]}, the best rival; the paper's form "
        f"| {ratio(best, ours)}; {ratio(step['paper'], ours)} as fast |",
        f"| its peak memory | {label[leanest['provider']]}, the leanest rival; the paper's form "
        f"| {ratio(leanest, ours, 'peak_memory')}; {ratio(step['paper'], ours, 'peak_memory')} less |",
        f"| labelling, tokens at equal error | 16 completions at every prefix "
        f"| {100 * tokens[16]:.0f} % with 16 solutions a problem, {100 * tokens[4]:.0f} % with 4 |",
        "| scoring a pool of candidates | vLLM's step pooling; one row at a time "
        f"| {ratio(pool['vLLM'], pool['erprm'])}; {ratio(pool['one at a time'], pool['erprm'])} as fast |",
        f"| checking answers | math-verify on each "
        f"| {ratio(grading['math-verify on each'], grading['erprm'])} as fast |",
    ]
    if served:
        lines.append(f"| export, real models | served by stock vLLM, float32 | scores differ by at most "
                     f"{max(served):.0e} |")
    return lines


def reached(runs: list[Record]) -> dict[str, list[float]]:
    """Per selector, the accuracy at the largest N in every run, in percent."""
    tables = [run["best_of_n"] for run in runs]
    return {name: [100 * table[name]["accuracy"][-1] for table in tables] for name in tables[0] if name != "n"}


def demo(runs: list[Record]) -> list[str]:
    """What runs of the demo with several seeds found, in one sentence."""
    found, last = reached(runs), runs[0]["best_of_n"]["n"][-1]
    alone = [100 * run["policy"]["pass@1"] for run in runs]

    def span(name: str) -> str:
        values = found[name]
        return f"{display_name(name)} {sum(values) / len(values):.0f} % ({min(values):.0f}-{max(values):.0f})"

    return [f"A policy of half a million parameters solves {min(alone):.0f} to {max(alone):.0f} % of {runs[0]['task']} "
            f"problems; the best of {last} candidates, mean of {len(runs)} seeds (lowest-highest): "
            f"{'; '.join(span(name) for name in ('majority', 'orm', 'soft', 'er_eta_2', 'pass@n'))}."]


def demo_table(runs: list[Record]) -> list[str]:
    """The same for every selector and seed."""
    tables, found = [run["best_of_n"] for run in runs], reached(runs)
    half = max(50 * (table[name]["high"][-1] - table[name]["low"][-1]) for table in tables for name in found)
    heads = ["chosen by", "mean", *(f"seed {run['seed']}" for run in runs)]
    return [f"Best of {tables[0]['n'][-1]}, % of {runs[0]['problems']} held-out problems; 95 % intervals over problems "
            f"are ±{half:.0f} or narrower; everything trained anew for each seed.", "",
            f"| {' | '.join(heads)} |", "|---" * len(heads) + "|",
            *(f"| {display_name(name)} | {sum(values) / len(values):.0f} | "
              f"{' | '.join(f'{value:.0f}' for value in values)} |" for name, values in found.items()), "",
            "| reward model | optimiser steps, by seed | best step AUC on validation rows |", "|---|---|---|",
            *(f"| {name} | {', '.join(str(run['reward_models'][name]['steps']) for run in runs)} | "
              f"{', '.join(format(run['reward_models'][name]['validation_step_auc'], '.2f') for run in runs)} |"
              for name in runs[0]["reward_models"]), "",
            *(f"Seed {run['seed']} took {sum(run['seconds'].values()) / 60:.1f} minutes on two CPU cores with nothing "
              f"else to do, in seconds: {', '.join(f'{name} {value:.0f}' for name, value in run['seconds'].items())}."
              for run in runs if "labels and pools" in run["seconds"])]  # the others were not timed alone


def every_figure() -> list[str]:
    """At a bench's largest size, one line per provider of ours and rival: the rival's time and memory over ours."""
    records, date = newest()
    records += [record for path in sorted(RESULTS.glob("*_262k.json"))  # files of their own: one bench each
                for record in json.loads(path.read_text(encoding="utf-8"))["results"]]
    lines = [f"Newest CPU files: {date}; the 262k vocabulary in `*_262k.json`, on a machine that was shared with other "
             "work, providers in turn.", "", "| work | size | against | times faster | times less memory |",
             "|---|---|---|---|---|"]
    for bench, title in TITLES.items():
        found = largest(records, bench)
        for name, ours in found.items():
            for rival, record in found.items():
                if not name.startswith("erprm") or rival.startswith("erprm"):
                    continue
                held = [one["peak_memory"] or 0 for one in (record, ours)]
                less = two_digits(held[0] / held[1]) if min(held) > 1e6 else ""  # below a megabyte it is noise
                form = name.removeprefix("erprm").lstrip("-, ").replace("-", " ")
                shape = ", ".join(f"{key} {value:,}" for key, value in ours["shape"].items())
                lines.append(f"| {title}{form and ', ' + form} | {shape} | {rival} "
                             f"| {two_digits(record['p50'] / ours['p50'])} | {less} |")
    return lines


def real_models() -> list[str]:
    """Minutes and peak memory of each stage of `make real`."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("real-*.json"))]
    if not runs:
        return ["Not run yet."]
    stages = list(dict.fromkeys(stage["name"] for run in runs for stage in run["stages"]))
    columns = [(f"{run['model']}{title}", {stage["name"].removeprefix("plain "): stage for stage in run[key]})
               for run in runs for key, title in (("stages", ""), ("plain", ", transformers alone")) if run.get(key)]
    lines = ["| stage | " + " | ".join(f"{title}: minutes | GB" for title, _ in columns) + " |",
             "|---|" + "---|---|" * len(columns)]
    for name in stages:
        cells = []
        for _, found in columns:
            stage = found.get(name)
            memory = stage and stage["peak_memory"]
            cells += [f"{stage['seconds'] / 60:.1f}" if stage else "", f"{memory / 1e9:.1f}" if memory else ""]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    sizes = ", ".join(f"{run['model']}: {run['problems']} problems, {run['solutions']} solutions and completions"
                      for run in runs)
    return [f"{sizes}; engine {runs[0]['engine']}.", "", *lines]


def draw_real_models() -> None:
    """Their minutes by stage, as a picture beside the table."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("real-*.json"))]
    figure, axes = new_figure((6.4, 3.0))
    names = [stage["name"] for stage in runs[0]["stages"]]
    for number, run in enumerate(runs):
        minutes = {stage["name"]: stage["seconds"] / 60 for stage in run["stages"]}
        axes.barh([place + 0.38 * number for place in range(len(names))], [minutes.get(name, 0.0) for name in names],
                  height=0.36, label=run["model"])
    axes.set_yticks([place + 0.19 * (len(runs) - 1) for place in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel("minutes on two CPU cores")
    axes.legend(frameon=False)
    save_png(DEMO.with_name("real_models.png"), figure)


def fill(text: str, section: str, lines: list[str]) -> str:
    """`text` with the lines between the section's markers replaced."""
    pattern = rf"(<!-- {section}: begin -->\n).*?(<!-- {section}: end -->)"
    found, count = re.subn(pattern, lambda match: match[1] + "\n".join(lines) + "\n" + match[2], text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"expected one section '{section}', found {count}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    if given.demo is not None:
        found = sorted(given.demo.glob("seed-*/results.json"), key=lambda path: int(path.parent.name[len("seed-"):]))
        if not found:
            raise SystemExit(f"{given.demo}: expected the folders seed-* of `erprm demo --seeds N`, found none")
        DEMO.write_text(json.dumps([json.loads(path.read_text(encoding="utf-8")) for path in found], indent=1) + "\n",
                        encoding="utf-8")
        shutil.copyfile(next(given.demo.glob("best_of_n-*.png")), DEMO.with_name("best_of_n.png"))
    runs = json.loads(DEMO.read_text(encoding="utf-8"))
    pages = {README: {"demo": demo(runs), "measured": six_rows(), "real": real_models()},
             RESULTS / "README.md": {"figures": every_figure(), "demo": demo_table(runs)},
             ROOT / "docs" / "findings.md": findings.sections()}
    if not given.check:
        draw_real_models()
        findings.draw_all()
    stale = 0
    for page, sections in pages.items():
        text = filled = page.read_text(encoding="utf-8")
        for section, lines in sections.items():
            filled = fill(filled, section, lines)
        stale += filled != text
        if not given.check:
            page.write_text(filled, encoding="utf-8")
    return int(given.check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
