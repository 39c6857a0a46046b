"""The report's figures, drawn once: as PNG files for slides and READMEs and as SVG inside of the page.

    save_png(path, best_of_n_figure(curves, floor=0.31))
    page = inline_svg(calibration_figure(calibrations), "Reliability")

Text and grid of the SVG take the page's colours, so that it follows light and dark mode (report.html).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from erprm.evaluation.curves import BestOfN
from erprm.evaluation.overoptimisation import kl_of
from erprm.evaluation.style import colours, dashes, display_name
from erprm.files.writing import atomic_write
from erprm.statistics.calibration import Calibration

if TYPE_CHECKING:
    from erprm.evaluation.search_bench import Point

_QUIET = "#8888884d"  # grid and guides, on light and dark ground alike


def best_of_n_figure(curves: BestOfN, floor: float | None = None, title: str = "") -> Any:
    """Accuracy against N (log scale) for every selector, with interval bands for the reward models.

    Args:
        floor: pass@1, drawn as a thin line.
    """
    figure, axes = new_figure((8.4, 4.6))
    colour = colours(curves.lines)
    if floor is not None:
        axes.axhline(100 * floor, color="#888888", linewidth=1, linestyle=":")
    for name in sorted(curves.lines, key=lambda name: name in curves.scorers):
        line, solid = curves.lines[name], name in curves.scorers
        accuracy, low, high = ([100 * v for v in values] for values in (line.accuracy, line.low, line.high))
        if solid:
            axes.fill_between(curves.ns, low, high, color=colour[name], alpha=0.10, linewidth=0)
        axes.plot(curves.ns, accuracy, linestyle="-" if solid else (0, dashes(name)), color=colour[name], marker="o",
                  markersize=4 if solid else 3, linewidth=2 if solid else 1.5, label=display_name(name))
    axes.set_xscale("log", base=2)
    axes.set_xticks(curves.ns, [str(n) for n in curves.ns])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("N, candidates per problem")
    above = axes.secondary_xaxis("top")
    above.set_xticks(curves.ns, [f"{kl_of(n):.1f}" for n in curves.ns], fontsize=8)
    above.set_xlabel("KL from the policy, at most, nats: ln N − (N − 1) / N", fontsize=8)
    above.spines["top"].set_visible(False)
    above.minorticks_off()
    above.tick_params(color="#888888")
    axes.set_ylabel("accuracy, %")
    axes.set_title(title, loc="left", fontsize=11)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda index: -handles[index].get_ydata()[-1])
    axes.legend([handles[i] for i in order], [labels[i] for i in order], frameon=False, loc="center left",
                bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def calibration_figure(calibrations: Sequence[Calibration]) -> Any:
    """Reliability curves: mean truth against mean score, points sized by how many steps fall into a bin."""
    figure, axes = new_figure((5.2, 4.6))
    colour = colours([part.name for part in calibrations])
    axes.plot([0, 100], [0, 100], color="#888888", linewidth=1, linestyle=":")
    for part in calibrations:
        scores, truth = [100 * b.score for b in part.bins], [100 * b.truth for b in part.bins]
        axes.errorbar(scores, truth, [196 * b.error for b in part.bins], color=colour[part.name], linewidth=1.5,
                      label=display_name(part.name))
        axes.scatter(scores, truth, [8 + 250 * b.count / part.count for b in part.bins], color=colour[part.name],
                     alpha=0.75, linewidth=0)
    axes.set_xlabel("score, %")
    axes.set_ylabel("truth, %")
    axes.legend(frameon=False, fontsize=9)
    return figure


def search_figure(points: Sequence[Point]) -> Any:
    """Accuracy against generated plus scored tokens per problem (log scale), one line per method, with intervals."""
    figure, axes = new_figure((8.4, 4.6))
    methods = list(dict.fromkeys(point.method for point in points))
    colour = colours(methods)
    for name in methods:
        line = sorted((point for point in points if point.method == name), key=lambda point: point.tokens)
        heights = [100 * point.accuracy for point in line]
        spread = [[100 * max(point.accuracy - point.low, 0) for point in line],
                  [100 * max(point.high - point.accuracy, 0) for point in line]]
        axes.errorbar([point.tokens for point in line], heights, spread, color=colour[name], marker="o", markersize=4,
                      linewidth=1.5, elinewidth=0.8, capsize=2, label=display_name(name))
        for point, height in zip(line, heights, strict=True):
            axes.annotate(f"{point.n}", (point.tokens, height), textcoords="offset points", xytext=(4, 4), fontsize=7,
                          color=colour[name])
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("generated and scored tokens per problem (at each point: N)")
    axes.set_ylabel("accuracy, %")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9)
    return figure


def save_best_of_n(path: Path, curves: BestOfN, title: str = "") -> None:
    """`best_of_n_figure` as PNG."""
    save_png(path, best_of_n_figure(curves, title=title))


def save_png(path: Path, figure: Any) -> None:
    """Written beside `path` and renamed."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=160, format="png", metadata={"Software": None})


def inline_svg(figure: Any, label: str) -> str:
    """An <svg> element for a page; `label` is what a screen reader says."""
    import matplotlib

    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        figure.savefig(drawn, format="svg", transparent=True,
                       metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    text = drawn.getvalue()
    return text[text.index("<svg"):].replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def new_figure(size: tuple[float, float]) -> tuple[Any, Any]:
    """(figure, axes) of that many inches, on which one draws in the report's manner; needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(color="#888888")
    axes.grid(axis="y", color=_QUIET, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes
