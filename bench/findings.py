"""The tables and figures of docs/findings.md, from committed results alone; `bench/readme.py` puts them there.

    python bench/findings.py                       # prints the tables
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erprm.study.analysis import Table, summarise
from erprm.study.cells import Result, read_cells
from erprm.study.page import draw, markdown

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parent.parent / "docs" / "findings"


def tables() -> dict[str, Table]:
    """By task, what the study's cells say; none before its first."""
    return summarise(read_cells(RESULTS / "study")) if (RESULTS / "study").is_dir() else {}


def study(task: str, table: Table) -> list[str]:
    """Best of the largest N by reward, with its intervals and differences."""
    return markdown(task, table)[2:-1]  # without the heading, which the page has


def by_policy(table: Table) -> list[str]:
    """The same by policy seed, a number for each reward model."""
    seeds = sorted({cell.cell.policy_seed for cell in table.cells})
    lines = [f"| reward | {' | '.join(f'policy {seed}' for seed in seeds)} |", "|---" * (len(seeds) + 1) + "|"]
    for name in table.rewards:
        found = [[100 * cell.columns[name].accuracy[-1] for cell in table.cells
                  if cell.cell.policy_seed == seed and name in cell.columns] for seed in seeds]
        lines.append(f"| {name} | " + " | ".join(", ".join(f"{value:.0f}" for value in values) for values in found)
                     + " |")
    return lines


def turn_down(table: Table) -> list[str]:
    """Accuracy at every N, and the KL divergence of best-of-N from the policy: where more candidates hurt."""
    ns = next(iter(table.rewards.values())).ns
    lines = [f"| reward | {' | '.join(f'N = {n}' for n in ns)} | cells that fall at the last doubling |",
             "|---" * (len(ns) + 2) + "|",
             f"| KL, nats | {' | '.join(f'{np.log(n) - (n - 1) / n:.2f}' for n in ns)} | |"]
    for name, row in table.rewards.items():
        curves = [cell.columns[name].accuracy for cell in table.cells if name in cell.columns]
        falling = sum(curve[-1] < curve[-2] for curve in curves)
        lines.append(f"| {name} | {' | '.join(f'{100 * value:.1f}' for value in row.accuracy)} | {falling} of "
                     f"{len(curves)} |")
    return lines


def training(table: Table) -> list[str]:
    """What a reward model of each target costs to train, and how it scores validation solutions."""
    lines = ["| target | trainings | optimiser steps | seconds, one thread | step AUC, validation | Brier |",
             "|---|---|---|---|---|---|"]
    for target in dict.fromkeys(cell.cell.target for cell in table.cells):
        mine: Sequence[Result] = [cell for cell in table.cells if cell.cell.target == target]
        steps, seconds, auc, brier = ([cell.training[name] for cell in mine]
                                      for name in ("steps", "seconds", "eval_step_auc", "eval_brier"))
        lines.append(f"| {target} | {len(mine)} | {np.mean(steps):,.0f} | {np.mean(seconds):.0f} ({min(seconds):.0f}-"
                     f"{max(seconds):.0f}) | {np.mean(auc):.3f} ({min(auc):.3f}-{max(auc):.3f}) "
                     f"| {np.mean(brier):.3f} |")
    return lines


def labels() -> list[str]:
    """Reward models by kind of label, before and after the consensus; `bench/labels.py`."""
    found = json.loads((RESULTS / "labels.json").read_text(encoding="utf-8"))
    lines = ["| design | labels | rows | wrong step labels | step AUC | first-error F1 | best of 64 | its PRM seeds |",
             "|---|---|---|---|---|---|---|---|"]
    for design in found["designs"]:
        for name, arm in found[f"equal {design}"]["arms"].items():
            wrong = 100 * found["labels"][name][0]["wrong_share"]
            seeds = ", ".join(f"{100 * value:.0f}" for value in arm["best_of_n"]["by_prm_seed"])
            lines.append(f"| equal {design} | {name} | {arm['rows'][0]:,} | {wrong:.1f} % | "
                         + " | ".join(_percent(arm[metric]) for metric in ("step_auc", "first_error_f1", "best_of_n"))
                         + f" | {seeds} |")
    return lines


def label_tests() -> list[str]:
    """Its paired comparisons."""
    found = json.loads((RESULTS / "labels.json").read_text(encoding="utf-8"))
    lines = ["| design | figure | labels | against | difference, points | p (Holm) | by PRM seed |",
             "|---|---|---|---|---|---|---|"]
    for design in found["designs"]:
        for one in found[f"equal {design}"]["comparisons"]:
            seeds = ", ".join(f"{100 * value:+.0f}" for value in one["by_prm_seed"])
            lines.append(f"| equal {design} | {one['metric'].replace('_', ' ')} | {one['first']} | {one['second']} | "
                         f"{_difference(one)} | {one['p_holm']:.3f} | {seeds} |")
    return lines


def costs() -> list[str]:
    """Completions and tokens for 100,000 labelled steps by way to label; `bench/label_costs.py`."""
    found = json.loads((RESULTS / "label_costs.json").read_text(encoding="utf-8"))
    lines = ["| labels | completions, millions | tokens, millions | engine seconds, one core beside other work |",
             "|---|---|---|---|"]
    for name, way in found["ways"].items():
        if "completions_per_100000_steps" in way:
            completions, tokens, seconds = (way[f"{what}_per_100000_steps"]
                                            for what in ("completions", "tokens", "engine_seconds"))
            lines.append(f"| {name} | {completions / 1e6:.2f} | {tokens / 1e6:.1f} | {seconds:,.0f} |")
    return lines


def policies() -> list[str]:
    """Held-out pass@1 by way to train the policy; `bench/policy.py`."""
    found = json.loads((RESULTS / "policy.json").read_text(encoding="utf-8"))
    lines = ["| policy | pass@1 | by seed | gain |", "|---|---|---|---|"]
    for name, arm in found["arms"].items():
        gain = "" if name == "before" else _difference(arm["gain"])
        seeds = ", ".join(f"{100 * value:.1f}" for value in arm["by_demo"])
        lines.append(f"| {name} | {100 * arm['accuracy']:.1f} | {seeds} | {gain} |")
    return lines


def _percent(figure: dict[str, Any]) -> str:
    return f"{100 * figure['mean']:.1f} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def _difference(test: dict[str, Any]) -> str:
    return f"{100 * test['difference']:+.1f} [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]"


def sections() -> dict[str, list[str]]:
    """By the name of a section of the page, its lines."""
    found = {"labels": labels(), "label-tests": label_tests(), "costs": costs(), "policies": policies()}
    for task, table in tables().items():
        found |= {f"study-{task}": study(task, table), f"by-policy-{task}": by_policy(table),
                  f"turn-down-{task}": turn_down(table), f"training-{task}": training(table)}
    return found


def draw_all() -> None:
    """The figures beside the page."""
    for task, table in tables().items():
        FIGURES.mkdir(exist_ok=True)
        draw(FIGURES, task, table)


if __name__ == "__main__":
    for section, lines in sections().items():
        print(f"\n{section}\n", *lines, sep="\n")
