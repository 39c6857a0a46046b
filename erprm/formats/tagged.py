"""One text that marks the end of every step: what Math-Shepherd, ER-PRM and OpenRLHF share.

    "What is 2+3*4? Step 1: 3*4=12 ки\\nStep 2: 2+12=14 ки"

The problem ends where "Step 1:" begins; without it, at the first line break. A row whose problem or first step would
be read back otherwise is refused on writing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from erprm.formats.base import Options, RecordError
from erprm.rows import StepRow

_STEP_1 = re.compile(r"\s*(?=\bStep 1:)")
_NUMBERED = re.compile(r"Step \d+:")


@lru_cache(maxsize=16)
def _tag(tag: str) -> re.Pattern[str]:
    # An older revision of Math-Shepherd has "ки ?" where the sign belongs.
    return re.compile(rf"[ \t]*{re.escape(tag)}(?:[ \t]*\?)?[ \t]*(?:\n|$)")


def split_tagged(tagged: str, tag: str) -> tuple[list[str], bool]:
    """(chunks, whether the last one has its tag): the texts between the tags, the first with the problem before it."""
    parts = _tag(tag).split(tagged)
    complete = not parts[-1].strip()
    chunks = parts[:-1] if complete else parts
    if any(not chunk.strip() for chunk in chunks):
        raise RecordError("text: expected a step before every tag", "none")
    if any(tag in chunk for chunk in chunks):
        raise RecordError("text: expected tags at line ends", f"one inside {tagged[:40]!r}")
    return chunks, complete


def split_problem(chunk: str) -> tuple[str, str]:
    """(problem, first step) of the first chunk."""
    boundaries = list(_STEP_1.finditer(chunk))
    if boundaries:
        problem, step = chunk[:boundaries[-1].start()], chunk[boundaries[-1].end():]
    else:
        problem, _, step = chunk.strip().partition("\n")
    if not problem.strip() or not step.strip():
        raise RecordError("text: expected a problem, then 'Step 1:' or a line break", repr(chunk[:40]))
    return problem.strip(), step.strip()


def join_problem(problem: str, step: str) -> str:
    """The inverse of `split_problem`; raises RecordError where there is none."""
    joined = f"{problem} {step}" if step.startswith("Step 1:") else f"{problem}\n{step}"
    if split_problem(joined) != (problem, step):
        raise RecordError("prompt: expected a problem that can be told from its first step", repr(joined[:60]))
    return joined


def numbered(steps: Sequence[str]) -> list[str]:
    """The steps, each beginning with "Step k:"."""
    if all(_NUMBERED.match(step) for step in steps):
        return list(steps)
    return [f"Step {index}: {step}" for index, step in enumerate(steps, start=1)]


def join_tagged(row: StepRow, options: Options, number: bool = False) -> str:
    """The text with a tag after every step."""
    steps = numbered(row.steps) if number or options.number_steps else list(row.steps)
    joined = "\n".join(f"{step} {options.tag}" for step in [join_problem(row.prompt, steps[0]), *steps[1:]])
    chunks, _ = split_tagged(joined, options.tag)
    if chunks[1:] != steps[1:]:
        raise RecordError(f"steps: expected texts without the tag {options.tag!r} and without white space around them",
                          repr(joined[:60]))
    return joined


def read_steps(tagged: str, options: Options) -> tuple[str, tuple[str, ...], bool]:
    chunks, complete = split_tagged(tagged, options.tag)
    problem, first = split_problem(chunks[0])
    return problem, (first, *(chunk.strip() for chunk in chunks[1:])), complete
