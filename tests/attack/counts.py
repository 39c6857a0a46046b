"""How many attacks of each kind were tried, and how many held; `make attack` shows them at its end.

    with attempt("kills"):
        ...                                             # held where this ends without an error
    count("flipped bits", tried=200, held=200)
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

LONG = bool(os.environ.get("ERPRM_ATTACK"))  # the long form, `make attack`
_COUNTS: dict[str, tuple[int, int]] = {}


def count(kind: str, tried: int, held: int) -> None:
    """Add to the counts of a kind."""
    before = _COUNTS.get(kind, (0, 0))
    _COUNTS[kind] = (before[0] + tried, before[1] + held)


@contextmanager
def attempt(kind: str) -> Iterator[None]:
    """One attack of a kind, which has failed where the block ends with an error."""
    held = 0
    try:
        yield
        held = 1
    finally:
        count(kind, 1, held)


def lines() -> list[str]:
    """A table: a line for each kind, and one of all."""
    rows = {**_COUNTS, "all": (sum(tried for tried, _ in _COUNTS.values()), sum(held for _, held in _COUNTS.values()))}
    return [f"{'kind':40}{'tried':>12}{'held':>12}{'failed':>12}", *(
        f"{kind:40}{tried:12,}{held:12,}{tried - held:12,}" for kind, (tried, held) in rows.items())]
