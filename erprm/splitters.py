"""Where the steps of a solution end: one entry of `SPLITTERS` per way in which solutions are written.

    SPLITTERS["paragraph"].separators(text, tag)      # [(begin, end), ...]: what stands between two steps
    choose_splitter(texts)                            # ("paragraph", {"paragraph": 61, "newline": 3})

A separator may be empty: "step" cuts before "Step 2:", where nothing need stand between. Every function here takes time
linear in the text's length. `erprm.steps` makes steps of the separators.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

Span = tuple[int, int]

_BLANK_LINE = re.compile(r"\n\s*\n")
_STEP_K = re.compile(r"(?=^Step \d+:)", re.MULTILINE)
_OPENER = re.compile(r"^[ \t]*(?:```|~~~)|(?<!\\)\\[\[\]]|\$\$", re.MULTILINE)
_CLOSED_BY = {"```": "```", "~~~": "~~~", "\\[": "\\]", "$$": "$$"}
_PARAGRAPHS = re.compile(r"\n[^\S\n]*(?=\n)(?:[^\S\n]*\n)+")
_STEP = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|[-*][ \t]+)?(?:\*\*|__)?step[ \t]*\d+", re.MULTILINE | re.IGNORECASE)
_NUMBER = re.compile(r"^ {0,3}(?:#{1,6}[ \t]+)?(?:\*\*|__)?(\d{1,3})[.)](?=\s|\*\*|__)", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]++[\"')\]”’*_]*+(?=\s++(?![a-z]))|[。！？]++[\"'）」』’”]*+|\n")
_NO_END = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|resp|Mr|Mrs|Ms|Dr|Prof|St|No|Fig|Eq|Sec|Ch|p|pp|[A-Z])"
                     r"|\n[ \t]*\d{1,3})$")  # before a full stop that ends no sentence: abbreviations, list numbers
_THINKING = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Splitter:
    """How solutions are cut.

    Attributes:
        help: for the command line.
        separators: (text, step tag) to what stands between two steps, ascending.
        joint: what is put between two steps that come without the text around them; {tag} stands for the step tag.
        stops: texts after which the policy has ended a step, for searches that write one step at a time; none: a search
            can't use it.
        keeps_blocks: no step ends within code or a displayed formula.
    """

    help: str
    separators: Callable[[str, str], Iterable[Span]]
    joint: str
    stops: tuple[str, ...] = ()
    keeps_blocks: bool = False


def _newlines(text: str, tag: str) -> Iterator[Span]:
    return _matches(re.compile("\n"), text)


def _blank_lines(text: str, tag: str) -> Iterator[Span]:
    return _matches(_BLANK_LINE, text)


def _paragraphs(text: str, tag: str) -> Iterator[Span]:
    return _outside(_matches(_PARAGRAPHS, text), kept_whole(text))


def _step_k(text: str, tag: str) -> Iterator[Span]:
    return _matches(_STEP_K, text)


def _step_marks(text: str, tag: str) -> Iterator[Span]:
    """Before "Step 2:" in any dress; where no line begins so, before the numbers 1., 2., 3. in their order."""
    blocks = kept_whole(text)
    named = list(_outside(((match.start(), match.start()) for match in _STEP.finditer(text)), blocks))
    if named:
        return iter(named)
    return _outside(_counted(text), blocks)


def _counted(text: str) -> Iterator[Span]:
    expected: int | None = None
    for match in _NUMBER.finditer(text):
        number = int(match[1])
        if expected is None or number == expected:
            expected = number + 1
            yield match.start(), match.start()


def _sentences(text: str, tag: str) -> Iterator[Span]:
    def ends() -> Iterator[Span]:
        for match in _SENTENCE_END.finditer(text):
            before = text[max(0, match.start() - 12): match.start()]
            before = before if match.start() > 12 else f"\n{before}"
            if match[0][0] != "." or not _NO_END.search(before):
                yield match.end(), match.end()

    return _outside(ends(), kept_whole(text))


def _tags(text: str, tag: str) -> Iterator[Span]:
    return _matches(re.compile(re.escape(tag)), text)


SPLITTERS = {
    "newline": Splitter("each line", _newlines, "\n", ("\n",)),
    "paragraph": Splitter("paragraphs; code and displayed formulas are kept whole", _paragraphs, "\n\n", ("\n\n",),
                          keeps_blocks=True),
    "step": Splitter('"Step 1:", "**Step 1:**", "## Step 1" or "1." at the beginning of a line', _step_marks, "\n",
                     ("\nStep", "\n**Step", "\n# Step", "\n## Step", "\n### Step"), keeps_blocks=True),
    "sentence": Splitter("each sentence or line", _sentences, " ", keeps_blocks=True),
    "tag": Splitter("the step tag", _tags, "{tag}\n"),
    "blank-line": Splitter("blank lines, wherever they are", _blank_lines, "\n\n", ("\n\n",)),
    "step-k": Splitter('lines that begin "Step 1:"', _step_k, "\n", ("\nStep",)),
}
AUTO = "auto"  # the splitter that most solutions ask for; `choose_splitter` says which it is


def thinking_marks(text: str, skip: bool) -> list[Span]:
    """`<think>` and `</think>`, which separate steps; with `skip`, whole blocks of thinking, an unfinished one too."""
    marks = [(match.start(), match.end(), bool(match[1])) for match in _THINKING.finditer(text)]
    if not skip:
        return [(begin, end) for begin, end, _ in marks]
    blocks: list[Span] = []
    opened: int | None = 0 if marks and marks[0][2] else None  # a chat template may have written the first <think>
    for begin, end, closes in marks:
        if closes and opened is not None:
            blocks.append((opened, end))
            opened = None
        elif not closes and opened is None:
            opened = begin
    return blocks if opened is None else [*blocks, (opened, len(text))]


def kept_whole(text: str) -> list[Span]:
    r"""Code between fences, `\[ ... \]` and `$$ ... $$`; one that never ends is none."""
    return _blocks(text)[0]


def block_is_open(text: str) -> bool:
    """Whether code or a displayed formula has begun that has not ended."""
    return _blocks(text)[1]


def _blocks(text: str) -> tuple[list[Span], bool]:
    events = [(match.start(), match.end(), match[0].lstrip()) for match in _OPENER.finditer(text)]
    places: dict[str, list[int]] = {}
    for index, (_, _, kind) in enumerate(events):
        places.setdefault(kind, []).append(index)
    blocks: list[Span] = []
    unclosed = False
    index = 0
    while index < len(events):
        begin, _, kind = events[index]
        closers = places.get(_CLOSED_BY.get(kind, ""), [])
        closer = bisect.bisect_right(closers, index)
        if closer < len(closers):
            index = closers[closer]
            blocks.append((begin, events[index][1]))
        else:
            unclosed |= kind in _CLOSED_BY
        index += 1
    return blocks, unclosed


def choose_splitter(texts: Iterable[str]) -> tuple[str, dict[str, int]]:
    """The splitter that most texts ask for ("newline" where none asks for any), and how many ask for each."""
    votes = Counter(asked for text in texts if (asked := _asked_for(text)) is not None)
    order = list(SPLITTERS)
    ranked = sorted(votes, key=lambda name: (-votes[name], order.index(name)))
    return (ranked[0] if ranked else "newline"), {name: votes[name] for name in ranked}


def _asked_for(text: str) -> str | None:
    """The coarsest sign of steps of which the text has two: steps by name or number, paragraphs, lines, sentences."""
    blocks = thinking_marks(text, skip=True)
    begins, ends = [0, *(end for _, end in blocks)], [*(begin for begin, _ in blocks), len(text)]
    body = "".join(text[begin:end] for begin, end in zip(begins, ends, strict=True)).strip() or text.strip()
    for name in ("step", "paragraph", "newline", "sentence"):
        found = sum(1 for _ in itertools.islice(SPLITTERS[name].separators(body, ""), 2))
        if found >= (2 if name == "step" else 1):
            return name
    return None


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    return (match.span() for match in pattern.finditer(text))


def _outside(separators: Iterable[Span], blocks: Sequence[Span]) -> Iterator[Span]:
    """Those separators that lie in no block."""
    index = 0
    for begin, end in separators:
        while index < len(blocks) and blocks[index][1] <= begin:
            index += 1
        if index == len(blocks) or end <= blocks[index][0]:
            yield begin, end
