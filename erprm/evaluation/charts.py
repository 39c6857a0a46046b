"""The report's figures as inline SVG: text and grid take the page's colours, so they follow light and dark mode.

Values show when the pointer rests on a mark (SVG titles; no scripts).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from erprm.evaluation.style import colours, dashes, display_name, percent, scorers
from erprm.statistics.calibration import Calibration

_WIDTH, _HEIGHT = 860, 500
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 178, 18, 48


def best_of_n_chart(table: Mapping[str, Any], floor: float | None = None) -> str:
    """Accuracy against N (log scale) for every selector, with interval bands for the reward models.

    Args:
        table: {"n": [...], "<selector>": {"accuracy", "low", "high"}}.
        floor: pass@1, drawn as a thin line.
    """
    ns: Sequence[int] = table["n"]
    names = [name for name in table if name != "n"]
    colour = colours(names)
    top = max(max(table[name]["high"]) for name in names)
    ticks = _ticks(top)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    span = math.log2(ns[-1] / ns[0]) if len(ns) > 1 else 1.0

    def x(n: float) -> float:
        return _LEFT + (right - _LEFT) * (math.log2(n / ns[0]) / span if len(ns) > 1 else 0.5)

    def y(value: float) -> float:
        return bottom - (bottom - _TOP) * value / ticks[-1]

    parts = _axes(ticks, y, right)
    parts += [f'<text class="tick" x="{x(n):.1f}" y="{bottom + 20}" text-anchor="middle">{n}</text>' for n in ns]
    parts.append(f'<text class="axis" x="{(_LEFT + right) / 2:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">'
                 "N, candidates per problem</text>")
    if floor is not None:
        parts.append(f'<line class="floor" x1="{_LEFT}" x2="{right}" y1="{y(floor):.1f}" y2="{y(floor):.1f}"/>')
    for name in scorers(table):
        high = [f"{x(n):.1f},{y(v):.1f}" for n, v in zip(ns, table[name]["high"], strict=True)]
        low = [f"{x(n):.1f},{y(v):.1f}" for n, v in zip(ns, table[name]["low"], strict=True)]
        parts.append(f'<polygon points="{" ".join(high + low[::-1])}" fill="{colour[name]}" opacity="0.08"/>')
    for name in sorted(names, key=lambda name: name in scorers(table)):
        parts += _line(name, ns, table[name], colour[name], x, y)
    ends = _spread({name: y(table[name]["accuracy"][-1]) for name in names}, 17, _TOP + 6, bottom)
    for name, height in ends.items():
        parts.append(f'<text class="name" x="{right + 12}" y="{height + 4:.1f}" fill="{colour[name]}">'
                     f"{escape(display_name(name))}</text>")
    label = "Accuracy against the number of candidates, one line per selector"
    return _svg(parts, _WIDTH, _HEIGHT, label)


def calibration_chart(calibrations: Sequence[Calibration]) -> str:
    """Reliability curves: mean truth against mean score, bins sized by how many steps fall into them."""
    size, left, bottom = 400, 56, 352
    right, top = 380, 28
    colour = colours([part.name for part in calibrations])
    total = {part.name: part.count for part in calibrations}

    def x(value: float) -> float:
        return left + (right - left) * value

    def y(value: float) -> float:
        return bottom - (bottom - top) * value

    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts = _axes(ticks, y, right, left)
    parts += [f'<text class="tick" x="{x(t):.1f}" y="{bottom + 20}" text-anchor="middle">{percent(t, 0)}</text>'
              for t in ticks]
    parts.append(f'<text class="axis" x="{(left + right) / 2}" y="{size - 8}" text-anchor="middle">'
                 "score, %</text>")
    parts.append(f'<text class="axis" x="{left - 40}" y="{top - 12}">truth, %</text>')
    parts.append(f'<line class="floor" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    for part in calibrations:
        points = " ".join(f"{x(b.score):.1f},{y(b.truth):.1f}" for b in part.bins)
        shade = colour[part.name]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{shade}" stroke-width="2"/>')
        for b in part.bins:
            radius = 2.5 + 9 * math.sqrt(b.count / total[part.name])
            title = (f"{display_name(part.name)}: mean score {percent(b.score)}, truth {percent(b.truth)} "
                     f"± {percent(1.96 * b.error)}, {b.count} steps")
            parts.append(f'<circle cx="{x(b.score):.1f}" cy="{y(b.truth):.1f}" r="{radius:.1f}" fill="{shade}" '
                         f'opacity="0.75"><title>{escape(title)}</title></circle>')
    return _svg(parts, size, size, "Reliability: truth against score")


def _line(name: str, ns: Sequence[int], entry: Mapping[str, Sequence[float]], colour: str, x: Any, y: Any) -> list[str]:
    points = " ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in zip(ns, entry["accuracy"], strict=True))
    dash = dashes(name)
    style = f' stroke-dasharray="{dash}"' if dash else ""
    parts = [f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{2 if dash else 2.5}" '
             f'stroke-linejoin="round"{style}/>']
    for n, value, low, high in zip(ns, entry["accuracy"], entry["low"], entry["high"], strict=True):
        title = f"{display_name(name)}, N = {n}: {percent(value)} % [{percent(low)}, {percent(high)}]"
        parts.append(f'<circle cx="{x(n):.1f}" cy="{y(value):.1f}" r="{2.5 if dash else 3.5}" fill="{colour}">'
                     f"<title>{escape(title)}</title></circle>")
    return parts


def _axes(ticks: Sequence[float], y: Any, right: float, left: float = _LEFT) -> list[str]:
    parts = []
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">'
                     f"{percent(tick, 0)}</text>")
    return parts


def _ticks(top: float) -> list[float]:
    step = next(step for step in (0.02, 0.05, 0.1, 0.2) if top / step <= 6 or step == 0.2)
    return [index * step for index in range(math.ceil(max(top, step) / step - 1e-9) + 1)]


def _spread(heights: Mapping[str, float], gap: float, top: float, bottom: float) -> dict[str, float]:
    """Move labels apart to at least `gap`, keeping their order, within [top, bottom] where they fit."""
    order = sorted(heights, key=lambda name: heights[name])
    placed: list[float] = []
    for name in order:
        placed.append(max(heights[name], placed[-1] + gap if placed else top))
    limit = bottom
    for index in reversed(range(len(placed))):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return dict(zip(order, placed, strict=True))


def _svg(parts: Sequence[str], width: int, height: int, label: str) -> str:
    body = "\n".join(parts)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">\n{body}\n</svg>'
