"""Brackets of a text: what stands in none of them, and which close. Each function is one pass, or four."""

from __future__ import annotations

_PAIRS = {"(": ")", "[": "]", "{": "}"}


def split_top(text: str, separators: str) -> list[str]:
    """`text` at the separators that stand in no brackets."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        char = text[place]
        if char == "\\" and place + 1 < len(text):
            depth += (text[place + 1] == "{") - (text[place + 1] == "}")
            place += 1
        elif char in separators and depth == 0:
            parts.append(text[start:place])
            start = place + 1
        else:
            depth += (char in "([{") - (char in ")]}")
        place += 1
    return [*parts, text[start:]]


def balanced(text: str) -> bool:
    return all(text.count(opening) == text.count(closing) for opening, closing in _PAIRS.items())


def outside(text: str, place: int) -> bool:
    """Whether `place` stands in no brackets."""
    return all(text.count(opening, 0, place) <= text.count(closing, 0, place) for opening, closing in _PAIRS.items())


def closes_last(text: str, place: int) -> bool:
    """Whether the bracket at `place` is closed by the last one of `text`."""
    depth = 0
    for index, char in enumerate(text[place:], start=place):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and index < len(text) - 1 and text[index:index + 1] in ")]}":
            return False
    return True
