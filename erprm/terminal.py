r"""Texts of others, as models write them, shown on a terminal.

    printable("a\x1b[31m\nb")              # a\x1b[31m\nb, of printable characters alone
    shortened(text, 100)                   # the end of a long text, where its answer is
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""`text` with each character that shows nothing (line breaks, ESC, marks of direction) as its code: it steers no
    terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shortened(text: str, most: int) -> str:
    """The last `most` characters, printable, behind an ellipsis where there are more."""
    text = text.strip()
    return ("…" if len(text) > most else "") + printable(text[-most:])
