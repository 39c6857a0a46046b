"""The report's tables as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from erprm.evaluation.findings import stands_out
from erprm.evaluation.style import BASELINES, colours, display_name, percent, score_colour
from erprm.statistics.bootstrap import Comparison
from erprm.statistics.calibration import Calibration


def accuracy_table(table: Mapping[str, Any]) -> str:
    """One row per selector, one column per N: accuracy and its interval in %."""
    names = [name for name in table if name != "n"]
    colour = colours(names)
    head = "".join(f"<th>N = {n}</th>" for n in table["n"])
    rows = []
    for name in names:
        entry = table[name]
        cells = "".join(f"<td>{percent(a)}<br><small>{percent(low)}–{percent(high)}</small></td>"
                        for a, low, high in zip(entry["accuracy"], entry["low"], entry["high"], strict=True))
        kind = ' class="baseline"' if name in BASELINES else ""
        rows.append(f"<tr{kind}><td>{swatch(colour[name])}{escape(display_name(name))}</td>{cells}</tr>")
    return f'<div class="scroll"><table><tr><th>accuracy, %</th>{head}</tr>{"".join(rows)}</table></div>'


def comparison_table(paired: Sequence[Comparison]) -> str:
    """One row per comparison: difference in points, its interval, and the corrected p-value."""
    rows = []
    for part, p, sure in stands_out(paired):
        result = part.result
        bold = ' class="sure"' if sure else ""
        rows.append(f"<tr><td>{escape(display_name(part.first))} against {escape(display_name(part.second))}</td>"
                    f"<td>{part.n}</td><td{bold}>{100 * result.difference:+.1f}</td>"
                    f"<td>{100 * result.low:+.1f} to {100 * result.high:+.1f}</td>"
                    f"<td{bold}>{'< 0.001' if p < 0.001 else f'{p:.3f}'}</td></tr>")
    return ('<div class="scroll"><table><tr><th>on the same problems</th><th>N</th><th>difference</th>'
            f'<th>95 % interval</th><th>p</th></tr>{"".join(rows)}</table></div>')


def calibration_table(calibration: Sequence[Calibration]) -> str:
    """Brier score, calibration error and AUC of each PRM."""
    colour = colours([part.name for part in calibration])
    rows = "".join(f"<tr><td>{swatch(colour[part.name])}{escape(display_name(part.name))}</td><td>{part.brier:.3f}</td>"
                   f"<td>{part.ece:.3f}</td><td>{'–' if part.auc is None else f'{part.auc:.3f}'}</td>"
                   f"<td>{part.count:,}</td></tr>" for part in calibration)
    return ('<div class="scroll"><table><tr><th>target</th><th>Brier</th><th>ECE</th><th>AUC</th><th>steps</th></tr>'
            f"{rows}</table></div>")


def seconds_table(seconds: Mapping[str, float]) -> str:
    """One row per stage with a bar for its share of the time."""
    longest = max(max(seconds.values()), 1e-9)
    rows = "".join(f'<tr><td>{escape(stage)}</td><td class="bars"><div class="bar" '
                   f'style="width:{100 * value / longest:.1f}%"></div></td><td>{duration(value)}</td></tr>'
                   for stage, value in seconds.items())
    total = f"<tr><td><b>total</b></td><td></td><td><b>{duration(sum(seconds.values()))}</b></td></tr>"
    return f'<div class="scroll"><table><tr><th>stage</th><th></th><th>time</th></tr>{rows}{total}</table></div>'


def step_row(text: str, score: float, value: float | None, successes: int | None, trials: int | None) -> str:
    """One step: coloured by its score, with the score and the true value (and its counts) beside it."""
    red, green, blue = score_colour(score)
    truth = "–" if value is None else f"{value:.2f}"
    counts = f" <small>{successes}/{trials}</small>" if successes is not None and trials else ""
    mark = "" if value is None else _chip(value)
    return (f'<tr><td class="step" style="background:rgba({red},{green},{blue},.28)">{escape(text)}</td>'
            f'<td class="number">{_chip(score)}{score:.2f}</td><td class="number">{mark}{truth}{counts}</td></tr>')


def swatch(colour: str) -> str:
    """A small square of a selector's colour."""
    return f'<span class="swatch" style="background:{colour}"></span>'


def duration(seconds: float) -> str:
    """"42 s", "3 min 20 s" or "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _chip(value: float) -> str:
    red, green, blue = score_colour(value)
    return swatch(f"rgb({red},{green},{blue})")
