"""The report that people look at: one self-contained HTML file and its curves as PNG.

    write_report(results, Path("runs/demo"), examples=examples, calibration=calibrations, paired=comparisons)

writes `report.html` (inline style and figures, no scripts, light and dark), `best_of_n.png` and `calibration.png`.
`results` is the content of results.json; parts that a run does not have are left out of the page. Besides the keys that
the demo fixes it may hold "problems", the number of held-out problems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from erprm.evaluation.curves import BestOfN
from erprm.evaluation.figures import best_of_n_figure, calibration_figure, inline_svg, save_png
from erprm.evaluation.findings import findings, stands_out
from erprm.evaluation.style import BASELINES, colours, display_name, duration, percent, score_colour
from erprm.evaluation.tables import tables
from erprm.files.writing import atomic_write
from erprm.statistics.bootstrap import Comparison
from erprm.statistics.calibration import Calibration

_DEPTHS = 8  # columns of the table of residuals; all depths are in evaluation.json


@dataclass(frozen=True, slots=True)
class ScoredStep:
    """One step of a solution with the PRM's score and, where it was sampled, the truth.

    Attributes:
        text: the step.
        score: the PRM's, in [0, 1].
        value: what the score should be: V_eta (or k/n) of the Monte-Carlo completions; None when there are none.
        successes, trials: the counts behind `value`; for a finished solution's last step the outcome of 1 trial.
    """

    text: str
    score: float
    value: float | None = None
    successes: int | None = None
    trials: int | None = None


@dataclass(frozen=True, slots=True)
class ExampleSolution:
    """A held-out solution to show. `note` says why it was picked."""

    question: str
    steps: tuple[ScoredStep, ...]
    correct: bool
    answer: str = ""
    gold: str = ""
    note: str = ""
    score_name: str = "score"
    value_name: str = "true value"


def write_report(results: Mapping[str, Any], out_dir: Path, *, examples: Sequence[ExampleSolution] = (),
                 calibration: Sequence[Calibration] = (), paired: Sequence[Comparison] = (),
                 title: str = "Entropy-regularised process rewards, in miniature") -> Path:
    """Write the report and its PNG figures into `out_dir`, each beside its name and then renamed.

    Args:
        results: as results.json: `best_of_n` and `policy` at least.
        examples: solutions to show step by step.
        calibration: one per PRM, on held-out steps.
        paired: selectors compared on the same problems; the p-values are corrected together.

    Returns:
        The path of report.html.
    """
    curves = BestOfN.of_dict(results["best_of_n"])
    save_png(out_dir / "best_of_n.png", best_of_n_figure(curves, title=str(results.get("task", ""))))
    if calibration:
        save_png(out_dir / "calibration.png", calibration_figure(calibration))
    page = render(results, examples=examples, calibration=calibration, paired=paired, title=title)
    path = out_dir / "report.html"
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render(results: Mapping[str, Any], *, examples: Sequence[ExampleSolution] = (),
           calibration: Sequence[Calibration] = (), paired: Sequence[Comparison] = (), title: str = "") -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(loader=PackageLoader("erprm.evaluation", "."), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": percent, "name": display_name, "duration": duration}
    environment.globals |= {"score_colour": score_colour}
    curves = BestOfN.of_dict(results["best_of_n"])
    calibrated = [part.name for part in calibration]
    return environment.get_template("report.html").render(
        results=results, title=title, tiles=_tiles(results, curves), findings=findings(results, paired), curves=curves,
        baselines=BASELINES, colours=colours(curves.lines), calibration_colours=colours(calibrated),
        curves_svg=inline_svg(best_of_n_figure(curves, results["policy"]["pass@1"]),
                              "Accuracy against the number of candidates, one line per selector"),
        calibration_svg=inline_svg(calibration_figure(calibration), "Reliability: truth against score")
        if calibration else "",
        comparisons=stands_out(paired), examples=examples, calibration=calibration, tables=tables(results),
        **_residuals(results))


def _residuals(results: Mapping[str, Any]) -> dict[str, Any]:
    """Bellman residuals by model, and the first depths that any of them has."""
    residuals = results.get("bellman") or {}
    depths = sorted({int(depth) for part in residuals.values() for depth in part["depths"]})
    return {"residuals": residuals, "residual_depths": [str(depth) for depth in depths[:_DEPTHS]]}


def _tiles(results: Mapping[str, Any], curves: BestOfN) -> list[tuple[str, str]]:
    """The numbers on top of the page, each with what it is."""
    n = curves.ns[-1]
    shown = [(percent(results["policy"]["pass@1"]) + " %", "pass@1, the policy alone")]
    if curves.scorers:
        best = max(curves.scorers, key=curves.last)
        shown.append((percent(curves.last(best)) + " %", f"best of {n} by {display_name(best)}"))
    for name, label in (("majority", f"majority of {n}"), ("pass@n", f"pass@{n}, the ceiling")):
        if name in curves.lines:
            shown.append((percent(curves.last(name)) + " %", label))
    if results.get("raft"):
        shown.append((percent(results["raft"]["after"]) + " %", "pass@1 after one round of RAFT"))
    if results.get("seconds"):
        shown.append((duration(sum(results["seconds"].values())), "the whole run"))
    return shown
