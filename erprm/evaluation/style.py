"""How selectors are named, ordered and coloured in every table and figure, on light and dark ground alike.

Colours are Okabe and Ito's, which readers with colour-blindness tell apart, moved a little so that each has a contrast
of at least 3 : 1 on white and on near-black.
"""

from __future__ import annotations

from collections.abc import Iterable

BASELINES = ("majority", "weighted_majority", "pass@n")
_NAMES = {"orm": "outcome (ORM)", "soft": "soft label", "hard": "hard label", "majority": "majority vote",
          "weighted_majority": "weighted majority", "pass@n": "pass@N (ceiling)", "pass@1": "pass@1"}
_COLOURS = {"orm": "#d9730d", "soft": "#1b9e77", "hard": "#c2549d", "majority": "#8a8a8a",
            "weighted_majority": "#6f7f95", "pass@n": "#9a8f7c"}
_ER_COLOURS = ("#2f7fd1", "#7a5fd0", "#2796ad", "#4c5fb8", "#9a6ad1", "#3f8fa8", "#5a78c8")
_OTHER_COLOURS = ("#2f7fd1", "#d9730d", "#1b9e77", "#c2549d", "#7a5fd0", "#a8891a", "#2796ad")
SCORE_STOPS = ((213, 82, 28), (222, 178, 64), (22, 150, 105))  # of a score of 0, 0.5 and 1, as RGB
_DASHES = {"majority": (2.5, 2.0), "weighted_majority": (4.5, 2.0), "pass@n": (1.0, 2.0)}


def display_name(selector: str) -> str:
    """What people read: "er_eta_2" becomes "ER, η = 2"."""
    if selector.startswith("er_eta_"):
        return f"ER, η = {selector.removeprefix('er_eta_')}"
    return _NAMES.get(selector, selector)


def is_entropy_regularised(selector: str) -> bool:
    """Whether a selector's name says that its targets are V_eta ("er_eta_<eta>")."""
    return selector.startswith("er_")


def colours(selectors: Iterable[str]) -> dict[str, str]:
    """A colour per selector; known names always get the same one."""
    names = list(selectors)
    regularised = [name for name in names if is_entropy_regularised(name)]
    others = [name for name in names if name not in _COLOURS and name not in regularised]
    picked = {name: _COLOURS[name] for name in names if name in _COLOURS}
    picked |= {name: _ER_COLOURS[i % len(_ER_COLOURS)] for i, name in enumerate(regularised)}
    return picked | {name: _OTHER_COLOURS[i % len(_OTHER_COLOURS)] for i, name in enumerate(others)}


def dashes(selector: str) -> tuple[float, float] | None:
    """Length and gap of a baseline's dashes, in points; None for a solid line."""
    return _DASHES.get(selector)


def score_colour(score: float) -> tuple[int, int, int]:
    """From vermilion (0) over sand (0.5) to green (1), as RGB."""
    position = min(max(score, 0.0), 1.0) * 2
    first = min(int(position), 1)
    share = position - first
    red, green, blue = (round(low + (high - low) * share)
                        for low, high in zip(SCORE_STOPS[first], SCORE_STOPS[first + 1], strict=True))
    return red, green, blue


def percent(value: float, digits: int = 1) -> str:
    """0.123 as "12.3"."""
    return f"{100 * value:.{digits}f}"


def duration(seconds: float) -> str:
    """"42 s", "3 min 20 s" or "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
