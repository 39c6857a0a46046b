"""The curves as PNG files, for slides and READMEs (matplotlib, imported only here)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from erprm.evaluation.style import colours, dashes, display_name, scorers
from erprm.files.writing import written_beside
from erprm.statistics.calibration import Calibration


def save_best_of_n(path: Path, table: Mapping[str, Any], title: str = "") -> None:
    """Accuracy against N with interval bands, written beside `path` and renamed."""
    figure, axes = _figure((8.4, 4.6))
    ns = table["n"]
    names = [name for name in table if name != "n"]
    colour = colours(names)
    for name in names:
        entry, solid = table[name], name in scorers(table)
        accuracy, low, high = ([100 * v for v in entry[key]] for key in ("accuracy", "low", "high"))
        if solid:
            axes.fill_between(ns, low, high, color=colour[name], alpha=0.10, linewidth=0)
        style = "-" if solid else (0, tuple(float(part) / 2 for part in str(dashes(name)).split()))
        axes.plot(ns, accuracy, linestyle=style, color=colour[name], marker="o", markersize=4 if solid else 3,
                  linewidth=2 if solid else 1.5, label=display_name(name))
    axes.set_xscale("log", base=2)
    axes.set_xticks(ns, [str(n) for n in ns])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("N, candidates per problem")
    axes.set_ylabel("accuracy, %")
    axes.set_title(title, loc="left", fontsize=11)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    _save(figure, path)


def save_calibration(path: Path, calibrations: Sequence[Calibration]) -> None:
    """Reliability curves, written beside `path` and renamed."""
    figure, axes = _figure((5.2, 4.6))
    colour = colours([part.name for part in calibrations])
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1)
    for part in calibrations:
        axes.errorbar([b.score for b in part.bins], [b.truth for b in part.bins], [1.96 * b.error for b in part.bins],
                      color=colour[part.name], marker="o", markersize=4, linewidth=1.5, label=display_name(part.name))
    axes.set_xlabel("score")
    axes.set_ylabel("truth")
    axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    with written_beside(path) as beside:
        figure.savefig(beside, dpi=160, format="png", metadata={"Software": None})
