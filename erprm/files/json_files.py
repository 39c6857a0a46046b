"""JSON files that a run writes for itself and reads when it goes on: what was cut or changed is not read.

    write_record("out/iteration-1/iteration.json", {"number": 1, "accuracy": 0.5})
    read_record("out/iteration-1/iteration.json", "remove the file: the same command makes it again")

A record's checksum stands in it, over its values: a flipped bit in a number is noticed, other white space is not. One
without a checksum is an earlier version's.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.files.writing import atomic_write

_CHECKSUM = "checksum"


def write_json(path: str | Path, value: Any, indent: int | None = 2) -> None:
    """A file that people read, there whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=indent) + "\n", encoding="utf-8")


def read_json(path: str | Path, remedy: str, kind: type = dict) -> Any:
    """What the file holds.

    Args:
        remedy: what the user can do where it is damaged.
        kind: of the value.

    Raises:
        InputError: for a file that is missing or holds something else, with the remedy.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read ({' '.join(str(error).split())}); {remedy}") from error
    if not isinstance(value, kind):
        raise InputError(f"{path}: damaged, it holds {type(value).__name__} instead of {kind.__name__}; {remedy}")
    return value


def write_record(path: str | Path, record: Mapping[str, Any], indent: int | None = 2) -> None:
    """`write_json`, with a checksum."""
    write_json(path, {**record, _CHECKSUM: _sum(record)}, indent)


def read_record(path: str | Path, remedy: str, names: Collection[str] | None = None) -> dict[str, Any]:
    """What `write_record` was given.

    Args:
        names: of the values, where they are known; so that damage to the word "checksum" doesn't pass for a value.

    Raises:
        InputError: as `read_json`, and where it is not what was written.
    """
    record: dict[str, Any] = read_json(path, remedy)
    if record.pop(_CHECKSUM, _sum(record)) != _sum(record) or (names is not None and record.keys() != set(names)):
        raise InputError(f"{path}: damaged, its values are not those that were written; {remedy}")
    return record


def kept_record(path: str | Path, names: Collection[str]) -> dict[str, Any] | None:
    """`read_record` for what can be made again: None where it is not there, or damaged, which is said."""
    if not Path(path).is_file():
        return None
    try:
        return read_record(path, "it is made again", names)
    except InputError as error:
        print(error, file=sys.stderr)
        return None


def _sum(record: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()
