r"""The final answer out of a solution's text.

    extract_answer(r"... so there are $\boxed{\frac{1}{2}}$.")      # \frac{1}{2}
    extract_answer("9 * 2 = 18\n#### 1,234")                         # 1234
    extract_answer("First we add 3 and 4.")                          # None: no answer was given

An answer has to be marked: the last complete `\boxed{...}`, else the last of `#### ...`, `<answer>...</answer>`,
"The answer is ..." and "Answer: ...". A text without a mark is its own answer when it is nothing but an answer ("42",
"x=5"); otherwise there is none. The last number of a text is never taken for its answer: in an unfinished solution it
is an intermediate result, and now and then equal to the right one.
"""

from __future__ import annotations

import re

from erprm.grading.normalise import tidy

_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_MARKS = re.compile(
    r"^[ \t]*####[ \t]*(?P<hash>.*)$"
    r"|<answer>(?P<tag>.*?)</answer>"
    r"|\banswer(?:\**\s+is\b\s*:?|\**\s*[:=])[ \t*]*(?:\n\s*)?(?P<phrase>.*)$",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"(?<!\\)[.!?](?=\s|$)|\s(?:because|since|so that|which|therefore)\b", re.IGNORECASE)
_COMMAND = re.compile(r"\\(?:text|mbox|mathrm|textbf)\s*\{[^{}]*\}|\\[A-Za-z]+|\{[a-z]*matrix\}")
_WORD = re.compile(r"[A-Za-z]{2,}")
_FUNCTIONS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "pi", "max", "min"))


def extract_answer(text: str) -> str | None:
    """The final answer that `text` states, tidied: delimiters, currency signs, thousands separators and a closing full
    stop removed, otherwise as written; None where it states none (empty, unfinished, or without a mark)."""
    marked = marked_answer(text)
    if marked is not None:
        return tidy(marked) or None
    if _MARKS.search(text) or not is_bare_answer(text):
        return None
    return tidy(text) or None


def marked_answer(text: str) -> str | None:
    r"""What follows the last mark, as written; None where there is no mark or nothing follows it."""
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    marks = list(_MARKS.finditer(text))
    if not marks:
        return None
    kind = marks[-1].lastgroup or "phrase"
    answer = marks[-1].group(kind).strip()
    if kind == "phrase":
        if "\\boxed" in answer:
            return None  # a box that was begun and not closed
        end = _SENTENCE_END.search(answer)  # **emphasis** may be around the answer or around its mark
        answer = (answer[: end.start()] if end else answer).strip("* ")
    return answer or None


def last_boxed(text: str) -> str | None:
    r"""The contents of the last `\boxed{...}` or `\fbox{...}` whose braces close; nested braces are kept."""
    found = None
    for match in _BOX.finditer(text):
        start = match.end()
        if text[start:start + 1] == "{":
            end = _closing_brace(text, start)
            if end is not None:
                found = text[start + 1:end]
        elif text[start:start + 1].isalnum() and text[match.end() - 1:start].isspace():
            found = text[start]  # "\boxed 5" boxes one symbol
    return found if found is not None and found.strip() else None


def _closing_brace(text: str, start: int) -> int | None:
    depth, position = 0, start
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1  # an escaped brace, \{ or \}, belongs to the contents
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return None


def is_bare_answer(text: str) -> bool:
    """Whether the whole text is one answer and no reasoning: one line, at most two plain words, no calculation."""
    text = text.strip()
    if not text or "\n" in text or "\\boxed" in text:
        return False
    plain = _COMMAND.sub(" ", text)
    words = [word for word in _WORD.findall(plain) if word.lower() not in _FUNCTIONS]
    if len(words) > 2:
        return False
    left, equals, _ = text.rpartition("=")
    # "x = 5" and "2x + y = 0" are answers; "3*4 = 12" is a step towards one.
    return not equals or (not words and re.search(r"[A-Za-z]", _COMMAND.sub(" ", left)) is not None)


def last_line(text: str) -> str | None:
    """The last line that is not blank, without white space around it: where puzzle policies put their answer."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else None
