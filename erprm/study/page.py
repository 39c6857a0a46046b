"""A study's cells as a page: tables in Markdown and figures beside it, nothing in either that is not in the cells.

    write_page(Path("runs/study"), summarise(cells))    # summary.md and figures
    sections(table)["over-optimisation"]                # one table's lines

Accuracies are percentages; "over seeds" intervals hold policies, reward models and problems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from erprm.evaluation.curves import BestOfN, Curves, Line
from erprm.evaluation.figures import new_figure, save_best_of_n, save_png
from erprm.evaluation.overoptimisation import kl_of, turn_down
from erprm.files.writing import atomic_write
from erprm.study.analysis import Row, Table
from erprm.study.cells import Column, Result
from erprm.values import Array

TITLES = {"results": "Best of the largest N", "by-policy": "By policy, each reward model",
          "over-optimisation": "Over-optimisation", "steps": "Step scores as success rates", "training": "Training"}


def write_page(folder: Path, tables: Mapping[str, Table]) -> Path:
    """summary.md and its figures; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for task, table in tables.items():
        policies = len({result.cell.policy_seed for result in table.cells})
        lines += [f"## {task}: {policies} policies, {len(table.cells)} trainings", ""]
        for name, found in sections(table).items():
            lines += [f"### {TITLES[name]}", "", *found, ""]
        lines += [f"![{name}]({name}-{task}.png)" for name in draw(folder, task, table)] + [""]
    path = folder / "summary.md"
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path


def sections(table: Table) -> dict[str, list[str]]:
    """A task's tables by name, as in `TITLES`."""
    return {"results": _results(table), "by-policy": _by_policy(table), "over-optimisation": _over_optimisation(table),
            "steps": _steps(table), "training": _training(table)}


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _columns(table: Table, name: str) -> list[tuple[Result, Column]]:
    return [(result, result.columns[name]) for result in table.cells if name in result.columns]


def _results(table: Table) -> list[str]:
    rows = []
    for name, row in table.rewards.items():
        gap = ["", "", ""] if name == table.reference else [
            f"{100 * row.difference:+.1f}", _interval((row.low, row.high)), f"{row.p:.3f}"]
        rows.append([name, str(row.cells), f"{100 * row.accuracy[-1]:.1f}", _interval(row.of_problems),
                     _interval(row.of_seeds), *gap,
                     *(_deviation(value) for value in (row.shares.policy, row.shares.problems, row.shares.prm))])
    for name in ("majority", "pass@1", "pass@n"):
        found = {result.cell.policy_seed: result.pool[name] for result in table.cells if name in result.pool}
        if found:
            rows.append([f"*{name}*", "", f"{100 * np.mean(list(found.values())):.1f}", *[""] * 8])
    n = next(iter(table.rewards.values())).ns[-1]
    return _markdown(["reward", "cells", f"accuracy, N = {n}", "over problems", "over seeds", f"less {table.reference}",
                      "interval", "p (Holm)", "sd policy", "sd problems", "sd PRM"], rows)


def _by_policy(table: Table) -> list[str]:
    seeds = sorted({result.cell.policy_seed for result in table.cells})
    return _markdown(["reward", *(f"policy {seed}" for seed in seeds)], [
        [name, *(", ".join(f"{100 * column.accuracy[-1]:.0f}" for result, column in _columns(table, name)
                           if result.cell.policy_seed == seed) for seed in seeds)] for name in table.rewards])


def wide_curves(table: Table) -> Curves:
    """Accuracy by the number of candidates, on the problems that have many; reward models are averaged over."""
    found: dict[str, Array] = {}
    for name in table.rewards:
        by_policy: dict[int, list[Array]] = {}
        for result, column in _columns(table, name):
            by_policy.setdefault(result.cell.policy_seed, []).append(column.wide)
        found[name] = np.concatenate([np.mean(values, axis=0) for values in by_policy.values()])
    return Curves(next(iter(table.cells[0].columns.values())).wide_ns, found)


def _over_optimisation(table: Table) -> list[str]:
    curves = wide_curves(table)
    rows = [["*KL, nats*", *(f"{kl_of(n):.2f}" for n in curves.ns), "", "", ""]]
    for name, values in curves.by_problem.items():
        found = turn_down(curves, name)
        end = ["none", "", ""] if found is None else [
            f"{100 * found.drop:.1f} behind N = {found.peak}", _interval((found.low, found.high)), f"{found.p:.3f}"]
        rows.append([name, *(f"{100 * value:.1f}" for value in values.mean(axis=0)), *end])
    return _markdown(["reward", *(f"N = {n}" for n in curves.ns), "drop", "interval", "p (Holm)"], rows)


def _steps(table: Table) -> list[str]:
    rows = []
    for name in table.rewards:
        found = _columns(table, name)
        rows.append([name, *(_mean_and_ends([column.steps[figure] for _, column in found if figure in column.steps])
                             for figure in ("auc", "brier", "ece", "residual")), _residual_and_gain(found),
                     ", ".join(f"{chosen} {count}" for chosen, count in Counter(
                         column.aggregation for _, column in found).most_common())])
    return _markdown(["reward", "AUC", "Brier", "calibration error", "Bellman residual, η = 2",
                      "rank correlation of residual and gain", "aggregation, as validation chose"], rows)


def _residual_and_gain(found: Sequence[tuple[Result, Column]]) -> str:
    """Over a reward's cells; of three at least."""
    from scipy.stats import spearmanr

    residuals, gains = _residuals_and_gains(found)
    varied = len(residuals) > 2 and np.ptp(residuals) > 0 and np.ptp(gains) > 0
    return f"{spearmanr(residuals, gains).statistic:+.2f}" if varied else ""


def _residuals_and_gains(found: Sequence[tuple[Result, Column]]) -> tuple[list[float], list[float]]:
    """The gain is that of best-of-N over one candidate, in points."""
    known = [column for _, column in found if "residual" in column.steps]
    return ([column.steps["residual"] for column in known],
            [100 * (column.accuracy[-1] - column.accuracy[0]) for column in known])


def _training(table: Table) -> list[str]:
    """The level is what the worst target's trainings end at, on average: equal accuracy, by time."""
    targets = list(dict.fromkeys(result.cell.target for result in table.cells))
    by_target = {target: [result for result in table.cells if result.cell.target == target] for target in targets}
    ends = {target: [auc for result in found if np.isfinite(auc := result.training.get("eval_step_auc", np.nan))]
            for target, found in by_target.items()}
    level = min((float(np.mean(values)) for values in ends.values() if values), default=1.0)
    rows = []
    for target, found in by_target.items():
        times = [time for result in found if (time := _seconds_to(result, level)) is not None]
        rows.append([target, str(len(found)), _mean([result.training["label_tokens"] for result in found]),
                     _mean([result.training["steps"] for result in found]),
                     _mean([result.training["seconds"] for result in found]), _mean_and_ends(ends[target]),
                     f"{_mean(times)} ({len(times)} of {len(found)})" if times else "none"])
    return _markdown(["target", "trainings", "tokens of solutions and completions", "steps", "seconds", "step AUC, "
                      "validation", f"seconds to {level:.3f}"], rows)


def _seconds_to(result: Result, level: float) -> float | None:
    """Until the validation score was first that high; None where it never was."""
    first = next((step for step, value in result.curve if value >= level), None)
    return None if first is None else first / result.training["steps"] * result.training["seconds"]


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):,.0f}"


def _mean_and_ends(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})" if values else ""


def _interval(ends: tuple[float, float]) -> str:
    return f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def _deviation(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.1f}"


# ---- figures ----

def draw(folder: Path, task: str, table: Table) -> list[str]:
    """The figures of one task, as NAME-TASK.png in `folder`; returns the names of those that there is something of."""
    n = next(iter(table.rewards.values())).ns[-1]
    save_best_of_n(folder / f"best_of_n-{task}.png", BestOfN(next(iter(table.rewards.values())).ns, {
        name: Line(row.accuracy, *((*row.accuracy[:-1], end) for end in row.of_seeds))
        for name, row in _shown(table).items()}), f"{task}: intervals over seeds at the largest N")
    wide = wide_curves(table).best_of_n()
    save_best_of_n(folder / f"over_optimisation-{task}.png", BestOfN(wide.ns, {
        name: wide.lines[name] for name in _shown(table)}), f"{task}: intervals over problems")
    drawn = ["best_of_n", "over_optimisation"]
    for name, plot, across, upward in (
            ("eta", _plot_eta, "η", f"accuracy at N = {n}, %"),
            ("calibration", _plot_calibration, "η", "calibration error of steps"),
            ("curve", _plot_curves, "optimiser steps", "step AUC on validation solutions"),
            ("residual", _plot_residuals, "Bellman residual, η = 2", f"gain of best-of-{n}, points"),
            ("tokens", _plot_tokens, "tokens of solutions and completions", f"accuracy at N = {n}, %")):
        figure, axes = new_figure((6.4, 4.2))
        if plot(axes, table):
            axes.set_xlabel(across)
            axes.set_ylabel(upward)
            axes.legend(frameon=False, fontsize=8)
            save_png(folder / f"{name}-{task}.png", figure)
            drawn.append(name)
    return drawn


def _shown(table: Table) -> dict[str, Row]:
    """Of a training with several etas the one nearest to 2; of smaller label sets none."""
    found = {name: row for name, row in table.rewards.items() if "/" not in name and "+" not in name}
    for rows in _by_eta(table).values():
        found |= [(name, row) for _, name, row in sorted(rows, key=lambda part: abs(np.log(part[0] / 2.0)))[:1]]
    return found


def _by_eta(table: Table) -> dict[str, list[tuple[float, str, Row]]]:
    """Of each training with several positive etas (eta, reward, row), in the order of eta."""
    found: dict[str, list[tuple[float, str, Row]]] = {}
    for name, row in table.rewards.items():
        text, slash, eta = name.partition("/")
        if slash and float(eta) > 0:
            found.setdefault(text, []).append((float(eta), name, row))
    return {text: sorted(rows, key=lambda part: part[0]) for text, rows in found.items()}


def _plot_eta(axes: Any, table: Table) -> bool:
    for text, rows in _by_eta(table).items():
        middle = np.array([100 * row.accuracy[-1] for _, _, row in rows])
        ends = 100 * np.array([row.of_seeds for _, _, row in rows]).T
        axes.errorbar([eta for eta, _, _ in rows], middle, np.abs(ends - middle), marker="o", capsize=3, label=text)
    axes.axhline(100 * table.rewards[table.reference].accuracy[-1], color="#888888", linewidth=1, linestyle=":",
                 label=table.reference)
    axes.set_xscale("log")
    return bool(_by_eta(table))


def _plot_calibration(axes: Any, table: Table) -> bool:
    def error(name: str) -> float:
        return float(np.mean([column.steps["ece"] for _, column in _columns(table, name)]))

    for text, rows in _by_eta(table).items():
        axes.plot([eta for eta, _, _ in rows], [error(name) for _, name, _ in rows], marker="o", label=text)
    axes.axhline(error(table.reference), color="#888888", linewidth=1, linestyle=":", label=table.reference)
    axes.set_xscale("log")
    return bool(_by_eta(table))


def _plot_curves(axes: Any, table: Table) -> bool:
    targets = list(dict.fromkeys(result.cell.target for result in table.cells))
    for number, target in enumerate(targets):
        curves = [result.curve for result in table.cells if result.cell.target == target and result.curve]
        for index, curve in enumerate(curves):
            axes.plot(*zip(*curve, strict=True), linewidth=1, color=f"C{number % 10}",
                      label=None if index else target)
    return bool(table.cells)


def _plot_residuals(axes: Any, table: Table) -> bool:
    points = {name: _residuals_and_gains(_columns(table, name)) for name in _shown(table)}
    for name, (residuals, gains) in points.items():
        axes.scatter(residuals, gains, s=22, label=name)
    return any(residuals for residuals, _ in points.values())


def _plot_tokens(axes: Any, table: Table) -> bool:
    """A line for each target that was trained on several label sets."""
    points: dict[str, list[tuple[float, ...]]] = {}
    for name, row in table.rewards.items():
        target, _, eta = name.partition("/")
        tokens = float(np.mean([result.training["label_tokens"] for result, _ in _columns(table, name)]))
        points.setdefault(f"{target.partition('+')[0]}{eta and '/'}{eta}", []).append(
            (tokens, *(100 * value for value in (row.accuracy[-1], *row.of_seeds))))
    several = {name: np.array(sorted(found)).T for name, found in points.items() if len(found) > 1}
    for name, (tokens, middle, low, high) in several.items():
        axes.errorbar(tokens, middle, [np.maximum(middle - low, 0), np.maximum(high - middle, 0)], marker="o",
                      capsize=3, label=name)
    return bool(several)
