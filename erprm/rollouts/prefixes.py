"""The prefixes of a solution: what the policy continues, and the names by which equal ones are found.

    prefixes = Prefixes.of(row.steps, row.gaps, "newline", row.finished)
    prefixes.text(2)                 # exactly what the policy had written when its second step ended
    prefixes.keys[:2]                # equal for two solutions whose first two steps are the same text

A step's key is its text where the splitter's separator follows, as it does in most solutions, and in all that earlier
versions wrote. Any other text around a step makes it another step, with a key that no step's text can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from erprm.steps import prefix_spans, prefix_text, separator

_MARK = "\x1f"  # white space to Python: no step that was cut from a text begins with it


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Those of one solution of L steps.

    Attributes:
        steps: L texts; gaps: the L + 1 texts around them, None where the splitter's separator is.
        keys: L texts, equal where the exact text of the step and what ends it are.
    """

    steps: Sequence[str]
    gaps: Sequence[str] | None
    splitter: str
    keys: tuple[str, ...]

    @classmethod
    def of(cls, steps: Sequence[str], gaps: Sequence[str] | None, splitter: str, ended: bool) -> Prefixes:
        """
        Args:
            ended: the solution ended by itself: nothing continues its last step, whatever follows it.
        """
        keys = tuple(steps)
        if gaps is not None:
            spans = prefix_spans(steps, gaps)
            last = len(steps) - 1 if ended else -1
            usual = separator(splitter)
            keys = tuple(step if span == step + usual or index == last else f"{_MARK}+{span}"
                         for index, (step, span) in enumerate(zip(steps, spans, strict=True)))
        elif any(step[:1] == _MARK for step in steps):
            keys = tuple(f"{_MARK}={step}" if step[:1] == _MARK else step for step in steps)
        return cls(steps, gaps, splitter, keys)

    def text(self, length: int) -> str:
        """The prefix of `length` steps, which a completion continues."""
        return prefix_text(self.steps, length, self.splitter, gaps=self.gaps)
