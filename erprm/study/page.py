"""A study's cells as a page: tables in Markdown and figures beside it, nothing in either that is not in the cells.

    write_page(Path("runs/study"), summarise(cells))    # summary.md, best_of_n-TASK.png, eta-TASK.png, curve-TASK.png
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from erprm.evaluation.curves import BestOfN, Line
from erprm.evaluation.figures import new_figure, save_best_of_n, save_png
from erprm.files.writing import atomic_write
from erprm.study.analysis import Row, Table


def write_page(folder: Path, tables: Mapping[str, Table]) -> Path:
    """summary.md and its figures; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for task, table in tables.items():
        lines += markdown(task, table)
        draw(folder, task, table)
        lines += [f"![{title}]({name}-{task}.png)" for name, title in (
            ("best_of_n", "accuracy against N"), ("eta", "accuracy against eta"), ("curve", "validation score by step"))
            if (folder / f"{name}-{task}.png").is_file()] + [""]
    path = folder / "summary.md"
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path


def markdown(task: str, table: Table) -> list[str]:
    """The task's tables, in percentage points; "of seeds" intervals hold policies, reward models and problems."""
    n = next(iter(table.rewards.values())).ns[-1]
    policies = len({result.cell.policy_seed for result in table.cells})
    lines = [f"## {task}: best of {n}, {policies} policies, {len(table.cells)} trainings", "",
             f"| reward | cells | accuracy | over problems | over seeds | less {table.reference} | interval | p (Holm) "
             "| sd policy | sd problems | sd PRM |", "|---|---|---|---|---|---|---|---|---|---|---|"]
    for name, row in table.rewards.items():
        gap = ["", "", ""] if name == table.reference else [
            f"{100 * row.difference:+.1f}", _interval((row.low, row.high)), f"{row.p:.3f}"]
        lines.append("| " + " | ".join([
            name, str(row.cells), f"{100 * row.accuracy[-1]:.1f}", _interval(row.of_problems), _interval(row.of_seeds),
            *gap, *(_deviation(value) for value in (row.shares.policy, row.shares.problems, row.shares.prm))]) + " |")
    return [*lines, ""]


def _interval(ends: tuple[float, float]) -> str:
    return f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def _deviation(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.1f}"


def draw(folder: Path, task: str, table: Table) -> None:
    """The figures of one task, as PNG files in `folder`."""
    ns = next(iter(table.rewards.values())).ns
    save_best_of_n(folder / f"best_of_n-{task}.png", BestOfN(ns, {
        name: Line(row.accuracy, *((*row.accuracy[:-1], end) for end in row.of_seeds))
        for name, row in table.rewards.items()}), f"{task}: intervals over seeds at the largest N")
    groups: dict[str, list[tuple[float, Row]]] = {}
    for name, row in table.rewards.items():
        text, slash, eta = name.partition("/")
        if slash:
            groups.setdefault(text, []).append((float(eta), row))
    if groups:
        figure, axes = new_figure((6.4, 4.2))
        for text, rows in groups.items():
            etas, found = zip(*sorted(rows, key=lambda pair: pair[0]), strict=True)
            middle = np.array([100 * row.accuracy[-1] for row in found])
            ends = 100 * np.array([row.of_seeds for row in found]).T
            axes.errorbar(etas, middle, np.abs(ends - middle), marker="o", capsize=3, label=text)
        axes.axhline(100 * table.rewards[table.reference].accuracy[-1], color="#888888", linewidth=1, linestyle=":",
                     label=table.reference)
        axes.set_xscale("log")
        axes.set_xlabel("η")
        axes.set_ylabel(f"accuracy at N = {ns[-1]}, %")
        axes.legend(frameon=False)
        save_png(folder / f"eta-{task}.png", figure)
    figure, axes = new_figure((6.4, 4.2))
    for target in dict.fromkeys(result.cell.target for result in table.cells):
        curves = [result.curve for result in table.cells if result.cell.target == target and result.curve]
        for number, curve in enumerate(curves):
            axes.plot(*zip(*curve, strict=True), linewidth=1, label=target if number == 0 else None,
                      color=f"C{list(dict.fromkeys(r.cell.target for r in table.cells)).index(target) % 10}")
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("step AUC on validation solutions")
    axes.legend(frameon=False)
    save_png(folder / f"curve-{task}.png", figure)
