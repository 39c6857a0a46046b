"""Options as fields of a dataclass: default, help line, choices and range stand once, wherever the option is used.

    @dataclass(frozen=True)
    class Sizes:
        problems: str = option(help="problem file: .jsonl, .parquet, or gsm8k:PATH")
        n: int = option(16, help="completions per prefix", least=1)
        aggregate: str = option("min", help="step scores into one number", choices=AGGREGATIONS)

    check(Sizes(problems="p.jsonl", n=0))             # InputError: n: expected at least 1, found 0

The command line makes its flags of these fields (`erprm.cli.config`); Python callers check them with `check`.

Arguments of functions say the same in their annotations, which `@checked` looks at in every call:

    @checked
    def __init__(self, model: str, *, actors: Count = 2, cpus: Annotated[float, Within(least=0)] = 1.0): ...
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import operator
import typing
from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Annotated, Any, ParamSpec, TypeVar

from erprm.errors import InputError, shown

REQUIRED: Any = dataclasses.MISSING
LARGEST_WORKERS = 4096
LARGEST_SEED = 2**32 - 1  # NumPy's global generator, which transformers seeds, takes no larger one
_LARGEST = 10**15  # what arithmetic in 64 bits and in doubles can hold, sums of it too
_BOUNDS: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "least": ("at least", operator.ge), "above": ("more than", operator.gt),
    "most": ("at most", operator.le), "below": ("less than", operator.lt),
}
_KINDS: dict[type, tuple[str, type]] = {  # of arguments: as messages call them, and what is taken
    bool: ("true or false", bool), int: ("a whole number", numbers.Integral), float: ("a number", numbers.Real),
    str: ("a text", str)}
P = ParamSpec("P")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Within:
    """The range of a number, as for `option`, in the annotation of an argument."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def __str__(self) -> str:
        return " and ".join(f"{_BOUNDS[name][0]} {limit:g}" for name, limit in dataclasses.asdict(self).items()
                            if limit is not None)

    def holds(self, value: float) -> bool:
        """Whether the number lies in the range."""
        return all(_BOUNDS[name][1](value, limit) for name, limit in dataclasses.asdict(self).items()
                   if limit is not None)


Count = Annotated[int, Within(least=1)]


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
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{name}: expected a text without zeros, found {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name}: expected a finite number, found {value}")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise InputError(f"{name}: expected a number of at most {_LARGEST:,}, found {str(value)[:40]}")
    for bound, (words, holds) in _BOUNDS.items():
        limit = field.metadata.get(bound)
        if limit is not None and not isinstance(value, str) and not holds(value, limit):
            raise InputError(f"{name}: expected {words} {limit}, found {value}")


def keywords(function: Callable[..., Any]) -> dict[str, Any]:
    """By name, the annotations of a function's keyword-only arguments."""
    hints = typing.get_type_hints(function, include_extras=True)
    return {name: hints.get(name, Any) for name, argument in inspect.signature(function).parameters.items()
            if argument.kind is argument.KEYWORD_ONLY}


def check_arguments(annotations: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise InputError for the first value that its annotation doesn't allow.

    Args:
        annotations: bool, int, float, str and None, and unions of these, are looked at; anything else takes every
            value. `Annotated` adds a range, and functions that raise InputError themselves.
    """
    for name, value in values.items():
        annotation = annotations.get(name, Any)
        kind, *rules = typing.get_args(annotation) if typing.get_origin(annotation) is Annotated else (annotation,)
        ranges = [rule for rule in rules if isinstance(rule, Within)]
        if not _is_one_of(typing.get_args(kind) or (kind,), value) or (
                isinstance(value, numbers.Real) and not all(_is_within(each, value) for each in (Within(), *ranges))):
            words = " or ".join(_KINDS[part][0] for part in typing.get_args(kind) or (kind,) if part in _KINDS)
            raise InputError(f"{name}: expected {' of '.join([words, *map(str, ranges)])}, found {shown(value)}")
        for rule in rules:
            if callable(rule):
                rule(value)


def _is_one_of(kinds: tuple[Any, ...], value: Any) -> bool:
    if not all(kind in _KINDS or kind is NoneType for kind in kinds):
        return True
    return any(value is None if kind is NoneType else isinstance(value, _KINDS[kind][1])
               and (kind is bool or not isinstance(value, bool)) for kind in kinds)


def _is_within(limits: Within, value: Any) -> bool:
    return math.isfinite(value) and abs(value) <= _LARGEST and limits.holds(value)


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which raises InputError for a keyword-only argument that its annotation doesn't allow."""
    @functools.wraps(function)
    def call(*positional: P.args, **named: P.kwargs) -> T:
        known = keywords(function)
        check_arguments(known, {name: value for name, value in named.items() if name in known})
        return function(*positional, **named)

    return call
