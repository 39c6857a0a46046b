"""Options as fields of a dataclass: default, help line, choices and range stand once, wherever the option is used.

    @dataclass(frozen=True)
    class Sizes:
        problems: str = option(help="problem file: .jsonl, .parquet, or gsm8k:PATH")
        n: int = option(16, help="completions per prefix", least=1)
        aggregate: str = option("min", help="step scores into one number", choices=AGGREGATIONS)

    check(Sizes(problems="p.jsonl", n=0))             # InputError: n: expected at least 1, found 0

The command line makes its flags of these fields (`erprm.cli.config`); Python callers check them with `check`.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from erprm.errors import InputError

REQUIRED: Any = dataclasses.MISSING
LARGEST_WORKERS = 4096
LARGEST_SEED = 2**32 - 1  # NumPy's global generator, which transformers seeds, takes no larger one
_LARGEST = 10**15  # what arithmetic in 64 bits and in doubles can hold, sums of it too
_BOUNDS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "least": ("at least", operator.ge), "above": ("more than", operator.gt),
    "most": ("at most", operator.le), "below": ("less than", operator.lt),
}


class _Metadata(dict[str, Any]):
    """What a field knows of itself; copied, only what argparse takes too (transformers' HfArgumentParser copies)."""

    def copy(self) -> dict[str, Any]:
        return {name: self[name] for name in ("help", "choices") if self[name] is not None}


def option(default: Any = REQUIRED, *, help: str, choices: Iterable[str] | None = None, auto: str | None = None,
           least: float | None = None, above: float | None = None, most: float | None = None,
           below: float | None = None, aliases: tuple[str, ...] = (), positional: bool = False, bare: Any = None,
           breaks: bool = False, writes: str | None = None) -> Any:
    """A dataclass field with its help text; without a default the option must be given.

    Args:
        choices: the values that are taken. A registry gives its names, and its entries' help lines to the help text.
        auto: the value "auto" is taken too, and this is what it means.
        least, above, most, below: the range of a number. No option takes NaN or infinity.
        writes: what it names is written: "rows" (a .parquet or .jsonl file), a "file" or a "folder".
        aliases: older names, which the command line and recipes still take.
        positional: the command line takes it as a word without a flag.
        bare: the value that the flag without one stands for.
        breaks: a text in which the two characters \\n are a line break, as a shell hands them over (\\\\n: these two
            characters).
    """
    about = {} if auto is None else {"auto": auto}
    names = None if choices is None else (*about, *choices)
    if isinstance(choices, Mapping):
        about |= {name: getattr(entry, "help", entry) for name, entry in choices.items()}
    if about:
        help += ": " + "; ".join(f"{name}: {text}" for name, text in about.items())
    metadata = _Metadata({"help": help, "choices": names, "aliases": aliases, "least": least, "above": above,
                          "most": most, "below": below, "required": default is REQUIRED, "positional": positional,
                          "bare": bare, "breaks": breaks, "writes": writes})
    # A required option still needs a default so that fields may come in any order; the reader checks that it was given.
    return dataclasses.field(default=None if default is REQUIRED else default, metadata=metadata, kw_only=True)


def check(options: Any) -> None:
    """Raise InputError for the first field of a dataclass whose value its `option` doesn't take; None is taken."""
    for field in dataclasses.fields(options):
        check_value(field, getattr(options, field.name))


def check_value(field: dataclasses.Field[Any], value: Any) -> None:
    """`check` for one field and its value."""
    for part in value if isinstance(value, (tuple, list)) else (value,):
        if part is not None:
            _check_one(field, part)


def _check_one(field: dataclasses.Field[Any], value: Any) -> None:
    name = field.name.rstrip("_")
    choices = field.metadata.get("choices")
    if choices is not None and value not in choices:
        raise InputError(f"{name}: expected one of {', '.join(choices)}, found {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name}: expected a finite number, found {value}")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise InputError(f"{name}: expected a number of at most {_LARGEST:,}, found {str(value)[:40]}")
    for bound, (words, holds) in _BOUNDS.items():
        limit = field.metadata.get(bound)
        if limit is not None and not isinstance(value, str) and not holds(value, limit):
            raise InputError(f"{name}: expected {words} {limit}, found {value}")
