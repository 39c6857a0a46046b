"""A command's options: one frozen dataclass, filled from `--config file.yaml` and overridden by flags.

    @dataclass(frozen=True)
    class Config:
        problems: str = option(help="problem file: .jsonl, .parquet, or gsm8k:PATH")
        n: int = option(16, help="completions per prefix")

A recipe may hold one section per command (`label: {n: 16}`) or, for one command, the options themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from erprm.errors import InputError

T = TypeVar("T")
REQUIRED: Any = dataclasses.MISSING


def option(default: Any = REQUIRED, *, help: str, choices: Sequence[str] | None = None) -> Any:
    """A dataclass field with its help text; without a default the option must be given."""
    metadata = {"help": help, "choices": tuple(choices) if choices else None}
    # A required option still needs a default so that fields may come in any order; `load` checks that it was given.
    return dataclasses.field(default=None if default is REQUIRED else default,
                             metadata={**metadata, "required": default is REQUIRED}, kw_only=True)


def add_arguments(parser: argparse.ArgumentParser, config: type) -> None:
    """One `--flag` per field of the dataclass `config`; the command's own come before those that it inherits."""
    hints = typing.get_type_hints(config)
    for item in sorted(dataclasses.fields(config), key=lambda field: field.name not in config.__annotations__):
        kind, many = _value_type(hints[item.name])
        flag = "--" + _shown(item.name)
        text = item.metadata.get("help", "")
        if item.metadata.get("required"):
            text += " (required)"
        elif item.default not in (None, False, dataclasses.MISSING):
            shown = " ".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
            text += f" (default: {shown})"
        text = text.replace("%", "%%")
        if kind is bool:
            parser.add_argument(flag, dest=item.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:
            parser.add_argument(flag, dest=item.name, type=kind, nargs="+" if many else None, default=None, help=text,
                                choices=item.metadata.get("choices"),
                                metavar=None if item.metadata.get("choices") else kind.__name__.upper())


def load(config: type[T], command: str, given: argparse.Namespace, path: str | None) -> T:
    """The configuration of `command`: defaults, then the recipe at `path`, then the flags that were given.

    Raises:
        InputError: for an unknown key (naming the nearest known one), a wrong type, or a missing required option.
    """
    hints = typing.get_type_hints(config)
    values: dict[str, Any] = {}
    if path is not None:
        for key, value in read_recipe(path, command).items():
            name = key.replace("-", "_")
            name = name if name in hints else f"{name}_" if f"{name}_" in hints else name
            if name not in hints:
                raise InputError(f"{path}: unknown option {key!r} for {command}{_nearest(name, hints)}")
            values[name] = _coerce(value, hints[name], f"{path}: {key}")
    for name in hints:
        value = getattr(given, name, None)
        if value is not None:
            values[name] = tuple(value) if isinstance(value, list) else value
    for item in dataclasses.fields(config):  # type: ignore[arg-type]
        if item.metadata.get("required") and values.get(item.name) is None:
            raise InputError(f"{command}: --{_shown(item.name)} is required: {item.metadata['help']}")
        choices = item.metadata.get("choices")
        chosen = values.get(item.name)
        for value in chosen if isinstance(chosen, tuple) else (chosen,):
            if choices and value is not None and value not in choices:
                raise InputError(f"{command}: {item.name}: expected one of {', '.join(choices)}, found {value!r}")
    return config(**values)


def read_recipe(path: str, command: str) -> dict[str, Any]:
    """The options that the YAML file at `path` holds for `command`. Raises InputError."""
    import yaml

    from erprm.cli import COMMANDS

    if not Path(path).is_file():
        raise InputError(f"{path}: no such recipe")
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected options as 'name: value', found {type(loaded).__name__}")
    if any(isinstance(value, dict) for value in loaded.values()):
        for section, value in loaded.items():
            if section not in COMMANDS:
                raise InputError(f"{path}: unknown section {section!r}{_nearest(str(section), COMMANDS)}")
            if not isinstance(value, dict):
                raise InputError(f"{path}: section {section}: expected options, found {value!r}")
        if command not in loaded:
            raise InputError(f"{path}: no section {command!r}; it has {', '.join(loaded)}")
        return dict(loaded[command])
    return loaded


def _shown(name: str) -> str:
    """The name that users type: a field `from_` (a Python keyword without its underscore) is the option `from`."""
    return name.rstrip("_").replace("_", "-")


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else ""


def _value_type(hint: Any) -> tuple[type, bool]:
    """(scalar type, whether the option takes several values) of a field's annotation."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0], True
    if typing.get_origin(hint) is typing.Literal:
        return str, False
    return hint, False


def _coerce(value: Any, hint: Any, where: str) -> Any:
    kind, many = _value_type(hint)
    if value is None:
        return None
    if many:
        return tuple(_coerce(part, kind, where) for part in (value if isinstance(value, list) else [value]))
    if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 5e-7 as text
        except ValueError:
            pass
    elif kind in (str, Path) and isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return kind(str(value))
    elif isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise InputError(f"{where}: expected {kind.__name__}, found {value!r}")
