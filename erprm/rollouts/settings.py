"""What a store's completions depend on, as texts that can be compared, and the ids and seeds that follow from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from erprm.engines.base import Sampling
from erprm.problems import Problem

_BETWEEN = "\x1e"


def store_settings(kind: str, engine: Mapping[str, str], sampling: Sampling, problems: Iterable[Problem], seed: int,
                   splitter: str, grading: Mapping[str, str] | None = None) -> dict[str, str]:
    """Everything that, when it differs, makes a store's completions something else.

    Args:
        kind: "label" or "sample".
        engine: the engine's fingerprint.
        grading: how answers are found and graded (`GraderPool.settings`).

    Numbers of completions are not among them: asking for more goes on with the same store.
    """
    return {
        "kind": kind,
        **{f"policy.{name}": value for name, value in engine.items()},
        "sampling.temperature": repr(float(sampling.temperature)),
        "sampling.top_p": repr(float(sampling.top_p)),
        "sampling.max_tokens": str(sampling.max_tokens),
        "sampling.stop": json.dumps(list(sampling.stop), ensure_ascii=False),
        "problems": problems_hash(problems),
        "seed": str(seed),
        "splitter": splitter,
        **(grading or {}),
    }


def problems_hash(problems: Iterable[Problem]) -> str:
    """"<count> problems <16 hex digits>" of what is asked and how it is graded, in any order."""
    digests = sorted(_digest([problem.id, problem.question, problem.answer, problem.grader, _json(problem.metadata)])
                     for problem in problems)
    return f"{len(digests)} problems {_digest(digests)}"


def settings_hash(settings: Mapping[str, str]) -> str:
    """16 hex digits of the settings."""
    return _digest([part for name in sorted(settings) for part in (name, settings[name])])


def prefix_id(settings_digest: str, problem: Problem, steps: Sequence[str]) -> str:
    """32 hex digits, the same wherever the same prefix of the same problem is continued under the same settings.

    Args:
        steps: the keys of its steps (`erprm.rollouts.prefixes`): their texts, in most solutions.
    """
    return _digest([settings_digest, problem.id, problem.question, *steps], 16)


def _digest(parts: Sequence[str], size: int = 8) -> str:
    """Of the parts with U+001E between them; where a part holds that itself, of the parts behind their lengths."""
    if any(_BETWEEN in part for part in parts):
        lengths = "".join(f"{len(part)}{_BETWEEN}{part}" for part in parts)
        return hashlib.blake2b(lengths.encode(), digest_size=size, person=b"lengths").hexdigest()
    return hashlib.blake2b(_BETWEEN.join(parts).encode(), digest_size=size).hexdigest()


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True, default=repr)
