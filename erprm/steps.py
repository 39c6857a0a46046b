"""A solution into steps and back, and the one place where step tags and label tokens are named.

    split_steps("3*4=12\n2+12=14")                    # ["3*4=12", "2+12=14"]
    join_steps(["3*4=12", "2+12=14"])                 # the text again
    prefix_text(steps, 1)                             # "3*4=12\n": what a completion continues
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from erprm.errors import InputError

AUTO = "auto"
SPLITTERS = ("newline", "blank-line", "step-k", "tag")
_STEP_K = re.compile(r"(?=^Step \d+:)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class StepTags:
    """The texts around a step in a PRM's input and the two label tokens (Math-Shepherd's by default).

    A row reads: prompt, `prompt_end`, then for every step its text, `tag`, `step_end`. The tag and both labels must be
    one token each; `AUTO` stands for the first text that is one in the model's tokenizer.
    """

    tag: str = " ки"
    plus: str = " +"
    minus: str = " -"
    prompt_end: str = "\n"
    step_end: str = "\n"

    def filled(self, other: StepTags) -> StepTags:
        """Its own texts, those of `other` where they are `AUTO`."""
        return replace(self, **{name: getattr(other, name) for name in ("tag", "plus", "minus")
                                if getattr(self, name) == AUTO})


AUTO_TAGS = StepTags(AUTO, AUTO, AUTO)


def split_steps(text: str, splitter: str = "newline", tag: str = " ки") -> list[str]:
    """Cut a solution into its non-empty steps.

    Args:
        splitter: "newline", "blank-line", "step-k" (lines that begin "Step k:") or "tag" (split at `tag`).

    Returns:
        Step texts without the separators, at least one.

    Raises:
        InputError: for an unknown splitter or a text without a step.
    """
    if splitter == "newline":
        parts = text.split("\n")
    elif splitter == "blank-line":
        parts = re.split(r"\n\s*\n", text)
    elif splitter == "step-k":
        parts = _STEP_K.split(text)
    elif splitter == "tag":
        parts = text.split(tag)
    else:
        raise InputError(f"splitter: expected one of {', '.join(SPLITTERS)}, found {splitter!r}")
    steps = [part.strip() for part in parts if part.strip()]
    if not steps:
        raise InputError(f"solution: expected at least one step, found {text[:40]!r}")
    return steps


def separator(splitter: str = "newline", tag: str = " ки") -> str:
    """What `join_steps` puts between two steps."""
    return {"newline": "\n", "blank-line": "\n\n", "step-k": "\n", "tag": f"{tag}\n"}[splitter]


def join_steps(steps: Sequence[str], splitter: str = "newline", tag: str = " ки") -> str:
    """The inverse of `split_steps` up to surrounding white space."""
    return separator(splitter, tag).join(steps)


def prefix_text(steps: Sequence[str], length: int, splitter: str = "newline", tag: str = " ки") -> str:
    """The first `length` steps, ended by the separator so that a completion begins a new step."""
    if length == 0:
        return ""
    gap = separator(splitter, tag)
    return gap.join(steps[:length]) + gap
