"""The tables and figures of docs/findings.md, from committed results alone; `bench/readme.py` puts them there.

    python bench/findings.py                       # prints the tables
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from erprm.study import page
from erprm.study.analysis import Table, summarise
from erprm.study.cells import read_cells

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parent.parent / "docs" / "findings"


def tables() -> dict[str, Table]:
    """By task, what the study's cells say; none before its first."""
    return summarise(read_cells(RESULTS / "study")) if (RESULTS / "study").is_dir() else {}


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
        found |= {f"{name}-{task}": lines for name, lines in page.sections(table).items()}
    return found


def draw_all() -> None:
    """The figures beside the page."""
    for task, table in tables().items():
        FIGURES.mkdir(exist_ok=True)
        page.draw(FIGURES, task, table)


if __name__ == "__main__":
    for section, lines in sections().items():
        print(f"\n{section}\n", *lines, sep="\n")
