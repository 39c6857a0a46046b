"""A command's options: one dataclass of `option` fields, filled from `--config file.yaml` and overridden by flags.

    @dataclass(frozen=True)
    class Config:
        problems: str = option(help="problem file: .jsonl, .parquet, or gsm8k:PATH")
        n: int = option(16, help="completions per prefix", least=1)

A recipe may hold one section per command (`label: {n: 16}`) or, for one command, the options themselves.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from erprm.errors import InputError, shown
from erprm.files.writing import check_output
from erprm.options import REQUIRED, check_value, option

__all__ = ["REQUIRED", "Parser", "add_arguments", "check_outputs", "load", "option", "parse", "read_recipe"]

T = TypeVar("T")
_MANY = (tuple, Sequence)  # origins of annotations that take several values
_UNIONS = (types.UnionType, typing.Union)


class Parser(argparse.ArgumentParser):
    """argparse's parser with errors of one line."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        raise InputError(message.removeprefix("argument "))


def add_arguments(parser: argparse.ArgumentParser, config: type) -> None:
    """One `--flag` per field of the dataclass `config`; the command's own come before those that it inherits."""
    hints = typing.get_type_hints(config)
    for item in sorted(dataclasses.fields(config), key=lambda field: field.name not in config.__annotations__):
        kind, many = _value_type(hints[item.name])
        flags = ["--" + _shown(name) for name in (item.name, *item.metadata.get("aliases", ()))]
        text = item.metadata.get("help", "")
        choices = item.metadata.get("choices")
        if item.metadata.get("required"):
            text += " (required)"
        elif item.default not in (None, False, dataclasses.MISSING):
            shown = " ".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
            text += f" (default: {shown})"
        text = text.replace("%", "%%")
        if item.metadata.get("positional"):
            parser.add_argument(item.name, nargs="?", default=None, help=text,
                                metavar="{" + ",".join(choices or ()) + "}")
        elif kind is bool:
            parser.add_argument(*flags, dest=item.name, action=argparse.BooleanOptionalAction, default=None, help=text)
        else:  # values stay text here: `load` reads them as it reads a recipe's
            values: dict[str, Any] = {"nargs": "+"} if many else {}
            if item.metadata.get("bare") is not None:
                values = {"nargs": "?", "const": str(item.metadata["bare"])}
            parser.add_argument(*flags, dest=item.name, default=None, help=text, **values,
                                metavar="{" + ",".join(choices) + "}" if choices else kind.__name__.upper())


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments read; InputError for an unknown one, naming the nearest flag."""
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        raise InputError(f"unknown option {unknown[0]!r}{_nearest(unknown[0].partition('=')[0], flags)}")
    return given


def load(config: type[T], command: str, given: argparse.Namespace, path: str | None, commands: Collection[str]) -> T:
    """The configuration of `command`: defaults, then the recipe at `path`, then the flags that were given.

    Raises:
        InputError: for an unknown key (naming the nearest known one), a wrong type, a value that the option doesn't
            take, or a missing required option.
    """
    hints = typing.get_type_hints(config)
    fields = {item.name: item for item in dataclasses.fields(config)}  # type: ignore[arg-type]
    names = {_shown(alias): name for name, item in fields.items()
             for alias in (name, *item.metadata.get("aliases", ()))}
    values: dict[str, Any] = {}
    if path is not None:
        for key, value in read_recipe(path, command, commands).items():
            shown = str(key).replace("_", "-")
            if shown not in names:
                raise InputError(f"{path}: unknown option {key!r} for {command}"
                                 f"{_nearest(shown, names).replace('-', '_')}")
            if names[shown] in values:
                raise InputError(f"{path}: {key}: given twice")
            values[names[shown]] = _coerce(value, hints[names[shown]], f"{path}: {key}")
    for name in fields:
        value = getattr(given, name, None)
        if value is not None:
            values[name] = _coerce(value, hints[name], f"--{_shown(name)}", text=True)
    for name, item in fields.items():
        if item.metadata.get("breaks") and values.get(name) is not None:
            values[name] = _with_breaks(values[name])
        if item.metadata.get("required") and values.get(name) in (None, ""):
            raise InputError(f"--{_shown(name)} is required: {item.metadata['help']}")
        check_value(item, values.get(name))
    return config(**values)


def check_outputs(config: Any) -> None:
    """Whether what the options say will be written could be. Raises InputError."""
    values = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    for item in dataclasses.fields(config):
        if item.metadata.get("writes") and values[item.name] is not None:
            others = {_shown(name): value for name, value in values.items() if name != item.name}
            check_output(values[item.name], item.metadata["writes"], _shown(item.name), others)


def read_recipe(path: str, command: str, commands: Collection[str]) -> dict[str, Any]:
    """The options that the YAML file at `path` holds for `command`, one of `commands`. Raises InputError."""
    import yaml

    if not Path(path).is_file():
        raise InputError(f"{path}: no such recipe")
    try:
        loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: bytes that are no UTF-8, the 13th month
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise InputError(f"{path}: expected options as 'name: value', found {type(loaded).__name__}")
    if any(isinstance(value, dict) for value in loaded.values()):
        for section, value in loaded.items():
            if section not in commands:
                raise InputError(f"{path}: unknown section {section!r}{_nearest(str(section), commands)}")
            if not isinstance(value, dict):
                raise InputError(f"{path}: section {section}: expected options, found {shown(value)}")
        if command not in loaded:
            raise InputError(f"{path}: no section {command!r}; it has {', '.join(loaded)}")
        return dict(loaded[command])
    return loaded


def _with_breaks(value: Any) -> Any:
    r"""A text, or each of several, with line breaks for \n; \\n stands for the two characters."""
    if isinstance(value, tuple):
        return tuple(map(_with_breaks, value))
    return re.sub(r"\\?\\n", lambda match: "\n" if len(match[0]) == 2 else r"\n", value)


def _shown(name: str) -> str:
    """The name that users type: the field `from_` (`from` is a Python keyword) is the option `from`."""
    return name.rstrip("_").replace("_", "-")


def _nearest(name: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else ""


def _value_type(hint: Any) -> tuple[type, bool]:
    """(scalar type, whether the option takes several values) of a field's annotation."""
    if typing.get_origin(hint) in _UNIONS:
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        hint = next((part for part in parts if typing.get_origin(part) in _MANY), parts[0])
    if typing.get_origin(hint) in _MANY:
        return typing.get_args(hint)[0], True
    if typing.get_origin(hint) is typing.Literal:
        return str, False
    return hint, False


def _coerce(value: Any, hint: Any, where: str, text: bool = False) -> Any:
    """`value` as the type of the option; `text` for a flag's, which comes as text."""
    kind, many = _value_type(hint)
    if value is None:
        return None
    if many:
        values = tuple(_coerce(part, kind, where, text) for part in (value if isinstance(value, list) else [value]))
        alone = typing.get_origin(hint) in _UNIONS and kind in typing.get_args(hint)  # one may stand for itself
        return values[0] if alone and len(values) == 1 else values
    if kind is bool or isinstance(value, bool):
        if isinstance(value, bool) and kind is bool:
            return value
    elif kind is str and isinstance(value, (str, int, float)):
        return str(value)
    elif isinstance(value, kind) or (kind is float and isinstance(value, (int, str))) or text:
        try:
            return kind(value)  # YAML reads 5e-7 as text
        except (ValueError, OverflowError):
            if isinstance(value, str) and str in typing.get_args(hint):  # a word in place of a number
                return value
    raise InputError(f"{where}: expected {kind.__name__}, found {shown(value)}")
