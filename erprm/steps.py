r"""A solution into steps and back without loss, and the one place where step tags and label tokens are named.

    steps = split_steps("3*4=12\n\n2+12=14")          # ["3*4=12", "2+12=14"], with steps.gaps == ("", "\n\n", "")
    join_steps(steps)                                 # the text again, character by character
    prefix_text(steps, 1)                             # "3*4=12\n\n": what a completion continues

A step is shown without the white space around it. What stands before, between and behind the steps is kept beside them,
so that a prefix is exactly what the policy wrote. Steps that come without it (rows of other tools, of earlier versions)
are joined by what their splitter names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from erprm.errors import InputError
from erprm.splitters import AUTO, SPLITTERS, Span, Splitter, thinking_marks

__all__ = ["AUTO", "AUTO_TAGS", "SPLITTERS", "StepTags", "Steps", "gaps_to_keep", "join_steps", "prefix_spans",
           "prefix_text", "separator", "split_steps", "splitter_named"]


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


class Steps(list[str]):
    """The L steps of a text.

    Attributes:
        gaps: L + 1 texts: the solution is gaps[0] + steps[0] + gaps[1] + ... + gaps[L].
    """

    def __init__(self, steps: Sequence[str], gaps: tuple[str, ...]) -> None:
        super().__init__(steps)
        self.gaps = gaps


def splitter_named(name: str) -> Splitter:
    """The entry of `SPLITTERS`. Raises InputError."""
    if name not in SPLITTERS:
        raise InputError(f"splitter: expected one of {', '.join(SPLITTERS)}, found {name!r}")
    return SPLITTERS[name]


def split_steps(text: str, splitter: str = "newline", tag: str = " ки", skip_thinking: bool = False) -> Steps:
    """Cut a solution into its steps.

    Args:
        splitter: a name in `SPLITTERS`.
        tag: what "tag" splits at.
        skip_thinking: what stands between `<think>` and `</think>` is no step, but part of the gap before the answer;
            else the thinking is split like the rest.

    Returns:
        Steps that are not empty and have no white space around them; one empty step for a text that has none.
        `join_steps` of them is the text.

    Raises:
        InputError: for an unknown splitter.
    """
    separators = splitter_named(splitter).separators(text, tag)
    if marks := thinking_marks(text, skip_thinking):
        separators = _merged([*separators, *marks])
    steps: list[str] = []
    gaps: list[str] = []
    begin = behind = 0  # of the piece; of the last step
    for end, following in [*separators, (len(text), len(text))]:
        piece = text[begin:end]
        step = piece.strip()
        if step:
            start = begin + len(piece) - len(piece.lstrip())
            gaps.append(text[behind:start])
            steps.append(step)
            behind = start + len(step)
        begin = following
    if not steps:
        return Steps([""], (text, ""))
    return Steps(steps, (*gaps, text[behind:]))


def _merged(separators: list[Span]) -> list[Span]:
    """Sorted, without those that begin within another one."""
    result: list[Span] = []
    last = 0
    for begin, end in sorted(separators, key=lambda span: (span[0], -span[1])):
        if begin >= last:
            result.append((begin, end))
            last = end
    return result


def separator(splitter: str = "newline", tag: str = " ки") -> str:
    """What `join_steps` puts between two steps that come without their gaps."""
    return splitter_named(splitter).joint.replace("{tag}", tag)


def join_steps(steps: Sequence[str], splitter: str = "newline", tag: str = " ки", gaps: Sequence[str] | None = None,
               ) -> str:
    """The inverse of `split_steps`: the text, where the gaps are known (`Steps`, or `gaps` of a row)."""
    known = steps.gaps if isinstance(steps, Steps) else gaps
    if known is None:
        return separator(splitter, tag).join(steps)
    return known[0] + "".join(step + gap for step, gap in zip(steps, known[1:], strict=True))


def prefix_spans(steps: Sequence[str], gaps: Sequence[str]) -> list[str]:
    """The text cut behind each step: L texts of which the first i, joined, are the prefix of i steps.

    A line break or tag behind a step belongs to it; spaces before the next step are the next one's, as tokenizers have
    it. The last one takes all that is left.
    """
    result = []
    lead = gaps[0]
    for step, gap in zip(steps, gaps[1:], strict=True):
        kept = gap.rstrip(" \t")
        result.append(lead + step + kept)
        lead = gap[len(kept):]
    result[-1] += lead
    return result


def prefix_text(steps: Sequence[str], length: int, splitter: str = "newline", tag: str = " ки",
                gaps: Sequence[str] | None = None) -> str:
    """The first `length` steps as the policy wrote them, what ends the last one included.

    Without gaps the splitter's separator stands between them and at the end.
    """
    if length == 0:
        return ""
    known = steps.gaps if isinstance(steps, Steps) else gaps
    if known is not None:
        return "".join(prefix_spans(steps, known)[:length])
    gap = separator(splitter, tag)
    return gap.join(steps[:length]) + gap


def gaps_to_keep(steps: Steps, finished: bool) -> tuple[str, ...] | None:
    """The gaps that a row must hold; None for a finished solution whose steps are its lines."""
    usual = ("", *["\n"] * (len(steps) - 1), "")
    return None if finished and steps.gaps == usual else steps.gaps
