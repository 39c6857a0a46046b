"""Problems from reasoning-gym: its own generators, checked by its own verifiers.

    generate("countdown", {"min_numbers": "4", "max_numbers": "4", "size": "100", "seed": "1"})

Entry i of a reasoning-gym data set with seed s is drawn from s + i, so that neighbouring seeds share nearly all of
their entries. Here a seed is spread by a hash first: sets with different seeds are different draws. Where a task has
few puzzles, draws still repeat; `problems.distinct` and `problems.check_disjoint` see to that.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Mapping
from typing import Any

import yaml

from erprm.errors import InputError, import_extra
from erprm.problems.problem import Problem

_MOST = 10_000_000  # a slip of the hand, not a problem set


def generate(task: str, options: Mapping[str, str], limit: int | None = None) -> list[Problem]:
    """The first `limit` of `size` problems (100) of a task, with seed `seed` (0); the other options are the task's own.

    Returns:
        Problems with ids "TASK-SEED-INDEX", the grader "reasoning-gym:TASK" and the entry's metadata.

    Raises:
        InputError: for an unknown task or option, or a value that the task refuses.
        MissingExtraError: where reasoning-gym is not installed.
    """
    import_extra("reasoning_gym", "reasoning-gym")
    from reasoning_gym.factory import DATASETS

    if task not in DATASETS:
        raise InputError(f"reasoning-gym:{task}: no such task{_nearest(task, DATASETS)}")
    kind, config = DATASETS[task]
    known = {item.name for item in dataclasses.fields(config)}
    values: dict[str, Any] = {"size": 100, "seed": 0}
    for name, text in options.items():
        if name not in known:
            raise InputError(f"reasoning-gym:{task}: unknown option {name!r}{_nearest(name, known)}")
        values[name] = _value(text)
    seed, size = values["seed"], values["size"]
    if type(seed) is not int or type(size) is not int or size < 1:
        raise InputError(f"reasoning-gym:{task}: expected whole numbers seed and size >= 1, found {seed!r}, {size!r}")
    if min(size, size if limit is None else limit) > _MOST:
        raise InputError(f"reasoning-gym:{task}: size: expected at most {_MOST:,} problems, found {size:,}")
    values["seed"] = int.from_bytes(hashlib.blake2b(f"{task}:{seed}".encode(), digest_size=6).digest(), "little")
    try:
        entries = kind(config(**values))
    except (AssertionError, TypeError, ValueError) as error:
        raise InputError(f"reasoning-gym:{task}: options refused: {error}") from error
    return [_problem(task, seed, index, entries[index]) for index in range(size if limit is None else min(size, limit))]


def _problem(task: str, seed: int, index: int, entry: Mapping[str, Any]) -> Problem:
    return Problem(id=f"{task}-{seed}-{index}", question=entry["question"], answer=str(entry["answer"]),
                   grader=f"reasoning-gym:{task}", metadata=entry["metadata"])


def _value(text: str) -> Any:
    """4, 0.5, true or text; "a,b" is a tuple."""
    if "," in text:
        return tuple(_value(part) for part in text.split(","))
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # "*" is text, not YAML
    return value if isinstance(value, (int, float, str)) else text  # so is "-"


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
