"""The tables and figures of docs/findings.md, from committed results alone; `bench/readme.py` puts them there.

    python bench/findings.py                       # prints the tables
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from erprm.evaluation.figures import new_figure, save_png
from erprm.statistics.bootstrap import paired_test
from erprm.study import page
from erprm.study.analysis import Table, summarise
from erprm.study.cells import read_cells

RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parent.parent / "docs" / "findings"


def tables(folder: str = "study") -> dict[str, Table]:
    """By task, what the study's cells say."""
    return summarise(read_cells(RESULTS / folder))


def kept() -> list[str]:
    """Shorter trainings of countdown whose best model was kept, against the study's whole ones on the same labels."""
    lines = ["| target | trainings | steps | highest step AUC | best of 64, the best model | the study's, the last | "
             "difference |", "|---|---|---|---|---|---|---|"]
    short, whole = tables("study_kept")["countdown"].cells, tables()["countdown"].cells
    for target in dict.fromkeys(one.cell.target for one in short):
        pairs = [(one, other) for one in short for other in whole if one.cell == other.cell
                 and one.cell.target == target]
        name = target if target in pairs[0][0].columns else f"{target}/2"
        best, last = (np.concatenate([side.columns[name].by_problem for side in sides])
                      for sides in zip(*pairs, strict=True))
        test = paired_test(best, last)
        lines.append(
            f"| {name} | {len(pairs)} | {np.mean([one.training['steps'] for one, _ in pairs]):,.0f} | "
            f"{np.mean([max(value for _, value in one.curve) for one, _ in pairs]):.3f} | {100 * best.mean():.1f} | "
            f"{100 * last.mean():.1f} | {100 * test.difference:+.1f} [{100 * test.low:+.1f}, {100 * test.high:+.1f}] |")
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


def label_costs() -> list[str]:
    """Completions and tokens for 100,000 labelled steps by way to label; `bench/label_costs.py`."""
    found = json.loads((RESULTS / "label_costs.json").read_text(encoding="utf-8"))
    lines = ["| labels of 100,000 steps | completions, millions | tokens, millions | engine seconds, one core beside "
             "other work |", "|---|---|---|---|"]
    for name, way in found["ways"].items():
        if "completions_per_100000_steps" in way:
            completions, tokens, seconds = (way[f"{what}_per_100000_steps"]
                                            for what in ("completions", "tokens", "engine_seconds"))
            lines.append(f"| {name} | {completions / 1e6:.2f} | {tokens / 1e6:.1f} | {seconds:,.0f} |")
    return lines


def policies() -> list[str]:
    """Held-out pass@1 by way to train the policy; `bench/policy.py`."""
    found = json.loads((RESULTS / "policy.json").read_text(encoding="utf-8"))
    steps = ", ".join(f"{name.upper()} {found[name + '_steps']}" for name in ("raft", "dpo", "grpo"))
    lines = [f"{found['problems']} held-out problems of {len(found['policies'])} policies, {found['samples']} "
             f"solutions to each; optimiser steps: {steps}.", "",
             "| policy | pass@1 | by policy | gain | over right and wrong alone |", "|---|---|---|---|---|"]
    for name, arm in found["arms"].items():
        gain = "" if name == "before" else _difference(arm["gain"])
        seeds = ", ".join(f"{100 * value:.1f}" for value in arm["by_policy"])
        over = _difference(arm["over_alone"]) if "over_alone" in arm else ""
        lines.append(f"| {name} | {100 * arm['accuracy']:.1f} | {seeds} | {gain} | {over} |")
    return lines


def label_noise() -> list[str]:
    """Noise and reliability of labels by eta; `bench/label_noise.py`."""
    found = json.loads((RESULTS / "label_noise.json").read_text(encoding="utf-8"))
    lines = [f"{found['prefixes']:,} prefixes of solutions to {found['problems']:,} problems by {found['policies']} "
             f"policies, each labelled twice by {found['completions']} completions of its own; "
             f"{100 * found['dead']:.0f} % of them have no right completion.", "",
             "| labels | η | spread | noise | reliability |", "|---|---|---|---|---|"]
    for way in found["ways"]:
        eta = "" if way["eta"] is None else f"{way['eta']:g}"
        lines.append(f"| {way['labels']} | {eta} | {way['spread']:.3f} | {way['noise']:.3f} | {way['reliability']:.3f} "
                     f"[{way['low']:.3f}, {way['high']:.3f}] |")
    return lines


def ways() -> list[str]:
    """What each way to use checkable answers costs and reaches; `bench/costs.py`."""
    found = json.loads((RESULTS / "costs.json").read_text(encoding="utf-8"))
    accuracy, labelling, grpo = found["accuracy"], found["labelling"], found["grpo"]
    tokens = f"{np.mean(found['completion_tokens']) / 1e6:.2f}"
    lines = ["| way | completions, millions of tokens | seconds to label | to train | peak memory, GB | one solution | "
             "of 64: most voted | best by its reward |", "|---|---|---|---|---|---|---|---|",
             f"| the policy alone | | | | | {_percent(accuracy['before']['one'])} | "
             f"{_percent(accuracy['before']['majority'])} | |"]
    for target, cost in found["training"].items():
        best = [f"η = {name.partition('/')[2]}: " * ("/" in name) + _percent(value)
                for name, value in accuracy["best_of_n"].items() if name.partition("/")[0] == target]
        lines.append(f"| {target} | {tokens} | {labelling['seconds']:.0f} | {cost['seconds']:.0f} | "
                     f"{cost['peak_memory'] / 1e9:.2f} | | | {'; '.join(best)} |")
    lines.append(f"| GRPO, right and wrong alone | | | {grpo['seconds']:.0f} | {grpo['peak_memory'] / 1e9:.2f} | "
                 f"{_percent(accuracy['grpo']['one'])} | {_percent(accuracy['grpo']['majority'])} | |")
    return lines


def _percent(figure: dict[str, Any]) -> str:
    return f"{100 * figure['mean']:.1f} [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]"


def _difference(test: dict[str, Any]) -> str:
    return f"{100 * test['difference']:+.1f} [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]"


def sections() -> dict[str, list[str]]:
    """By the name of a section of the page, its lines."""
    found = {"labels": labels(), "label-tests": label_tests(), "label-costs": label_costs(), "policies": policies(),
             "label-noise": label_noise(), "kept": kept()}
    if (RESULTS / "costs.json").is_file():
        found["ways"] = ways()
    for task, table in tables().items():
        found |= {f"{name}-{task}": lines for name, lines in page.sections(table).items()}
    return found


def draw_all() -> None:
    """The figures beside the page."""
    FIGURES.mkdir(exist_ok=True)
    for task, table in tables().items():
        page.draw(FIGURES, task, table)
    _draw_noise()
    _draw_policies()


def _draw_noise() -> None:
    found = json.loads((RESULTS / "label_noise.json").read_text(encoding="utf-8"))
    figure, axes = new_figure((6.4, 4.2))
    for name in dict.fromkeys(way["labels"] for way in found["ways"]):
        mine = [way for way in found["ways"] if way["labels"] == name]
        if mine[0]["eta"] is None:
            axes.axhline(mine[0]["reliability"], linestyle=":" if name == "soft" else "--", color="#888888", label=name)
            continue
        ends = [[abs(way["reliability"] - way[end]) for way in mine] for end in ("low", "high")]
        axes.errorbar([way["eta"] for way in mine], [way["reliability"] for way in mine], ends, marker="o", capsize=3,
                      label=f"er, {name}")
    axes.set_xscale("log")
    axes.set_xlabel("η")
    axes.set_ylabel(f"reliability of a label of {found['completions']} completions")
    axes.legend(frameon=False)
    save_png(FIGURES / "label_noise.png", figure)


def _draw_policies() -> None:
    arms = json.loads((RESULTS / "policy.json").read_text(encoding="utf-8"))["arms"]
    gains = {name: arm["gain"] for name, arm in reversed(arms.items()) if name != "before"}
    figure, axes = new_figure((6.4, 3.4))
    middle = [100 * gain["difference"] for gain in gains.values()]
    ends = [[100 * abs(gain["difference"] - gain[end]) for gain in gains.values()] for end in ("low", "high")]
    axes.errorbar(middle, list(gains), xerr=ends, fmt="o", capsize=3, color="#1b9e77")
    axes.axvline(0, color="#888888", linewidth=1, linestyle=":")
    axes.set_xlabel("gain in held-out pass@1, points")
    save_png(FIGURES / "policies.png", figure)


if __name__ == "__main__":
    for section, lines in sections().items():
        print(f"\n{section}\n", *lines, sep="\n")
