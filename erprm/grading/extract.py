r"""The final answer out of a solution's text.

    extract_answer(r"... so there are $\boxed{\frac{1}{2}}$.")       # \frac{1}{2}
    extract_answer("9 * 2 = 18 #### 1,234 and that is all")           # 1,234
    extract_answer("<think>is it \\boxed{7}?</think>The answer is 4") # 4
    extract_answer("First we add 3 and 4.")                           # None: no answer was given

What a thinking block holds does not count, and a block that is not closed leaves no answer. An answer has to be marked:
the last complete `<answer>` tag, else the last boxes that are not empty, else the last of `#### ...`, "The answer is
...", "Answer: ..." that states something and is no remark ("This answer is correct"). A text without a mark is its own
answer when it is nothing but an answer ("42", "x=5"). The last number of a text is not taken for its answer, unless
asked for (`last_number`): in an unfinished solution it is an intermediate result.
"""

from __future__ import annotations

import re

from erprm.grading import languages
from erprm.grading.normalise import notation
from erprm.grading.numerals import WORDS, in_digits
from erprm.grading.tidy import tidy
from erprm.grading.units import read_unit

_THINKING = (("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<thought>", "</thought>"),
             ("[think]", "[/think]"), ("◁think▷", "◁/think▷"), ("<|begin_of_thought|>", "<|end_of_thought|>"),
             ("<reasoning>", "</reasoning>"))
_SPECIAL = re.compile(r"<[|｜][A-Za-z_▁]{1,40}[|｜]>|</s>|<end_of_turn>"
                      r"|</?(?:b|i|u|p|em|strong)>|<br ?/?>")  # tokens that a decoder left
_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_BRACE = re.compile(r"\\[\s\S]|[{}]")
_EMPTY = re.compile(r"(?:\s|[.…?~_]|\\(?:[,;:! _]|(?:q?quad|[lc]?dots)(?![A-Za-z])|h?phantom\s?\{[^{}]*\}"
                    r"|hspace\*?\s?\{[^{}]*\}|text\s?\{\s*\}))*+")
_BETWEEN = re.compile(r"(?:[\s$,;、，；.&*]|\([a-h]\)|\\[()\[\]\\]|\\(?:quad|qquad|,|;|:|!| )"
                      r"|\\text\s?\{[\s,]*(?:and|or)?[\s,]*\}|\b(?:and|or)\b|[和或与]|\b[A-Za-z](?:_\{?\w\}?)?\s?=)*")
_MOST_BOXES = 64  # that are read as one list
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)


def _states(suffix: str, verb: str) -> str:
    """What follows a noun that announces an answer; names of groups end in `suffix`."""
    return (rf"(?:(?P<is{suffix}>{verb}[*_ \t]*[:：]?)|(?P<colon{suffix}>[:：=]|[-–—](?=[ \t]))"
            rf"|(?P<letter{suffix}>(?=\([A-J]\))))")


_IS = r"(?:is|are|was|would be|should be|must be|will be|equals)\b"
_LINE = r"[*_]{0,3}[ \t]*(?=\r?\n)"
_ANSWER = (r"\bans(?:wers?)?[\"'*_]{0,3}(?:[ \t]+(?:to|of|for|choice)\b[^.\n:=]{0,80}?|[ \t]?\([^()\n]{0,60}\)"
           r"|,[^.\n:=,]{0,60},)?[*_]{0,3}[ \t]*")
_MARK = (r"(?P<hash>####(?!#))"
         rf"|{_ANSWER}(?:{_states('', _IS)}|(?P<line>{_LINE}))"
         r"|\b(?:correct|right|best|final)[ \t]+(?:option|choice|result)(?P<option>[ \t]+is\b[ \t]*:?|[ \t]*[:：])"
         r"|(?:答案|答(?!え)|正确选项|故选|应选)(?:选项)?[*\"” ]{0,3}(?P<chinese>[:：】]|[是为][:：]?|应为"
         r"|(?<=选)(?=[ （(]{0,2}[A-J]))")
_MARKS = re.compile(_MARK, re.IGNORECASE)
_MARKS_EVERYWHERE = re.compile(
    rf"{_MARK}|{languages.ANNOUNCED}{_states('_elsewhere', languages.VERB)}"
    rf"|{languages.HEADING}(?P<line_elsewhere>{_LINE})", re.IGNORECASE)
_LEADING = re.compile(r"^(?:[\s,:：*_>=≈}]|(?:thus|therefore|then|that|simply|just|hence|indeed|equal to|given by"
                      r"|exactly|now|also|clearly|obviously|option|choice|approximately|about|roughly|correct(?=:))\b"
                      rf"|{languages.BEFORE}|一共|总共|共|需要|大约|约|等于|有)+",
                      re.IGNORECASE)
_HEADING = re.compile(r"(?:verification|explanation|conclusion|summary|check|solution|notes?|reasoning|proof)\W{0,9}",
                      re.IGNORECASE)
_SENTENCE = re.compile(r"(?:the|there|it|this|so|thus|hence|therefore|we|he|she|they|[A-Z][a-z]+)\b[^\d\\]{0,200}?"
                       r"\b(?:is|are|was|were|equals|have|has|get|gets)\b\s++(?=[^a-z]{0,20}[\d\\])", re.IGNORECASE)
_BULLET = re.compile(r"(?:[-•]|1\.(?=[^\n]*\n\s*2\.))\s++(?=\S)")
_COPULA = re.compile(r"\s*(?:です|である|となります|になります|입니다|이다|है)$")  # behind the answer, in some languages
_MATHS = re.compile(r"(?P<first>\$(?:\\.|[^$\\\n])+\$|\\\([^\n]*?\\\))"
                    r"(?P<more>(?:\s*(?:[,;，、]?\s*(?:\b(?:and|or)\b|[和或与])|[,;，、])\s*(?:\$(?:\\.|[^$\\\n])+\$|\\\([^\n]*?\\\)))*+)")
_UNIT_BEHIND = re.compile(r"[\s$~]{0,3}(?:\\[,;: ]|\\\))?\s?(?P<unit>\\text\s?\{\s?[^{}]{1,30}\}(?:\^\{?\d\}?)?"
                          r"|\\?%|[A-Za-z°]{1,12}(?: ?(?:/|per) ?[A-Za-z]{1,12})?(?:\^\{?\d\}?|[²³])?)"
                          r"(?=[\s$]*(?:$|[.,;:!?。]|\n))")
_AND_SO_ON = re.compile(r"(\.\d+)\.\.\.")  # 0.333... ends no sentence
_SENTENCE_END = re.compile(
    r"(?<!\\)[.!?](?=\s|$)(?<!\b[A-Ha-h]\.)(?<!\bRs\.)(?<!\bNo\.)|[。।]|,?\s(?:i\.e\.|that\sis\b|namely\b)"
    r"|(?<!\bthere),?\s(?:because|since|so that|are|is|were|which|therefore|where|hence|thus|as\s(?:we|the|it)"
    rf"|but|not|after|when|if|this|i\s(?:hope|have)|{languages.BECAUSE})\b|,?\sand\s(?!{WORDS}\b)(?:[a-z]{{2,}}\s+){{2}}"
    r"|,\s+(?:so|as|with|and)\s[a-z]{2,}"
    r"|,\s(?:so|as)\s|\s(?:--|—)\s|;\s[a-z]{2,}",
    re.IGNORECASE)
_REMARK = re.compile(
    r"(?:\W|\b(?:not|as|in|fact|indeed|also|therefore|thus|now|the|a|very|quite|clearly|a?ll|both|actually|definitely|likely"
    r"|probably|already|hence)\b)*"
    r"\b(?:correct|incorrect|right|wrong|verified|confirmed|reasonable|valid|consistent|plausible|found|obtained|given|clear"
    r"|shown|explained|stated|unique|complete|final|boxed|above|below|expected|unknown|as\sfollows|supported|sure|helpful|rounded|based|exact|simplified|enough|useful|for"
    r"|an?\s(?:[a-z]+\s)?(?:integer|number|fraction|decimal|percentage|multiple|value)"
    rf"|{languages.REMARKS})\b(?!\s*:)",
    re.IGNORECASE)
_COMMAND = re.compile(r"\\(?:text|mbox|mathrm|textbf)\s*\{[^{}]*\}|\\[A-Za-z]+|\{[a-z]*matrix\}")
_WORD = re.compile(r"[A-Za-z]{2,}")
_FUNCTIONS = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "pi", "max", "min"))
_NUMBER = re.compile(r"(?:(?<![\w)\]}])[-−+]\s?)?(?:\\[dt]?frac\s?\{\d+\}\s?\{\d+\}"
                     r"|(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:\s?/\s?\d+(?![\d.]))?(?:\s?\\?%)?|\.\d+)")


def extract_answer(text: str) -> str | None:
    """The final answer that `text` states, tidied: delimiters, emphasis and a closing full stop removed, otherwise as
    written; None where it states none (empty, unfinished, or without a mark)."""
    stated = stated_answer(text)
    return (tidy(stated) or None) if stated is not None else None


def stated_answer(text: str) -> str | None:
    """As `extract_answer`, as written."""
    spoken = after_thinking(text)
    marked = marked_answer(spoken, units=True)
    if marked is not None:
        return marked
    if _marks(spoken).search(spoken) or _BOX.search(spoken) or not is_bare_answer(spoken):
        return None
    return spoken.strip()


def last_number(text: str) -> str | None:
    """The last number that `text` holds outside of thinking blocks."""
    found = None
    for match in _NUMBER.finditer(after_thinking(text)):
        found = match
    return found[0] if found else None


def after_thinking(text: str) -> str:
    """What follows the last thinking block; nothing where one is not closed."""
    low = text.lower() if len(text.lower()) == len(text) else text
    start = max((low.rfind(closing) + len(closing) for _, closing in _THINKING if closing in low), default=0)
    if any(low.find(opening, start) >= 0 for opening, _ in _THINKING):
        return ""
    return _SPECIAL.sub(" ", text[start:])


def marked_answer(text: str, units: bool = False) -> str | None:
    r"""What the last mark states, as written; None where there is no mark or nothing follows it.

    Args:
        units: with the unit that stands behind a box or behind `$...$`.
    """
    tagged = _tagged(text)
    if tagged is not None:
        return (_boxes(tagged, units) or _phrase(tagged, units) or tagged.strip()) or None
    return _boxes(text, units) or _phrase(text, units)


def _tagged(text: str) -> str | None:
    """The contents of the last complete `<answer>...</answer>` that is not empty."""
    found, start = None, -1
    for match in _TAG.finditer(text):
        if not match[1]:
            start = match.end()
        elif start >= 0:
            if text[start:match.start()].strip():
                found = text[start:match.start()]
            start = -1
    return found


def _boxes(text: str, units: bool) -> str | None:
    r"""The contents of the last `\boxed{...}` that is not empty; of several that stand together (`\boxed{1}` and
    `\boxed{2}`) all, as a list."""
    boxes = [(start, end, inside) for start, end, brace in _all_boxes(text)
             if not _EMPTY.fullmatch(inside := text[brace:end].removesuffix("}"))]
    if not boxes:
        return None
    together = [boxes.pop()]  # from the last one back
    while boxes and len(together) < _MOST_BOXES and _BETWEEN.fullmatch(text, boxes[-1][1], together[-1][0]):
        together.append(boxes.pop())
    parts = list(dict.fromkeys(inside.strip() for _, _, inside in reversed(together)))
    return parts[0] + (_unit_behind(text, together[0][1]) if units else "") if len(parts) == 1 else ", ".join(parts)


def _unit_behind(text: str, place: int) -> str:
    """The unit that stands behind a number in a box or in dollars, a space before it; "" where there is none."""
    behind = _UNIT_BEHIND.match(text, place, place + 80)
    unit = read_unit((notation(behind["unit"]),)) if behind else None
    return f" {behind['unit']}" if behind and unit is not None and unit.known else ""


def _all_boxes(text: str) -> list[tuple[int, int, int]]:
    """(start, end, start of the contents) of the complete boxes that stand in no other one, in one pass."""
    begun = {match.end(): match.start() for match in _BOX.finditer(text)}
    opened: dict[int, int] = {}  # place of the brace -> start of the box
    found: list[tuple[int, int, int]] = []
    for after, start in begun.items():
        place = after
        while text[place:place + 1].isspace():
            place += 1
        if text[place:place + 1] == "{":
            opened[place] = start
        elif place > after and text[place:place + 1].isalnum():
            found.append((start, place + 1, place))  # "\boxed 5" boxes one symbol
    stack: list[int] = []
    for match in _BRACE.finditer(text, min(opened)) if opened else ():
        if match[0] == "{":
            stack.append(match.start())
        elif match[0] == "}" and stack:
            brace = stack.pop()
            if brace in opened:
                while found and found[-1][0] > opened[brace]:
                    found.pop()  # a box in a box
                found.append((opened[brace], match.end(), brace + 1))
    return sorted(found)


def _marks(text: str) -> re.Pattern[str]:
    return _MARKS_EVERYWHERE if languages.speaks(text) else _MARKS


def _phrase(text: str, units: bool) -> str | None:
    """What the last mark in words states that is no remark; a remark where there is nothing else."""
    remark = None
    end = len(text)
    for match in reversed(list(_marks(text).finditer(text))):
        kind, _, elsewhere = (match.lastgroup or "").partition("_")
        stated = _statement(text[match.end():end], kind, units)
        if stated and elsewhere:
            stated = languages.with_point(stated, match[0])
        end = match.start() if kind != "line" or stated else end
        if not stated:
            if kind == "hash" and "####" in text[:match.start()].rpartition("\n")[2]:
                end = match.start()  # "#### 42 ####"
            elif kind != "line":
                return remark  # "The answer is" and no more: unfinished
            continue
        if kind == "is" and _REMARK.match(stated):
            remark = remark or stated
            continue
        if kind == "hash" and not _says_value(stated):
            remark = remark or stated  # a heading
            continue
        return stated
    return remark


def _says_value(stated: str) -> bool:
    """Whether what follows "####" is an answer and no heading."""
    return re.search(r"\d|\\", in_digits(stated)) is not None or (
        len(stated.split()) <= 1 and not _HEADING.fullmatch(stated))


def _statement(following: str, kind: str, units: bool) -> str | None:
    """The answer at the beginning of what follows a mark: a display, a line, the first sentence of it."""
    if "\\boxed" in following.split("\n", 1)[0]:
        return None  # a box that was begun and not closed
    if kind == "hash":
        following = following.partition("\n")[0]
    begun = following.lstrip(" \t\r\n:：*_")
    bullet = _BULLET.match(begun)
    if bullet and "\n" in following[:len(following) - len(begun)]:
        following = begun[bullet.end():]
    following = _LEADING.sub("", following, count=1)
    line = following.partition("\n")[0].strip()
    maths = _MATHS.match(line)
    if maths and not line.startswith("$$") and not (line[0] == "$" and line[1:2].isdigit()):
        one = maths["first"].removeprefix("\\(").removesuffix("\\)").strip()
        return maths[0] if maths["more"] else (one + (_unit_behind(line, maths.end()) if units else "")) or None
    for opening, closing in (("\\[", "\\]"), ("$$", "$$"), ("\\begin{align", "\\end{align"), ("\\(", "\\)"),
                             ("```", "```")):
        if following.startswith(opening):
            inside, found, _ = following[len(opening):].partition(closing)
            inside = re.sub(r"^\w+\n", "", inside) if opening == "```" else inside
            return inside.strip() or None if found else None
    if kind in ("line", "colon"):
        said = _SENTENCE.match(line)
        line = line[said.end():] if said else line
    end = _SENTENCE_END.search(_AND_SO_ON.sub(r"\1…  ", line), 1) if line else None
    line = _COPULA.sub("", (line[:end.start()] if end else line).strip().strip("*_ "))
    if line.endswith("}") and line.count("{") < line.count("}"):
        line = line.rstrip("}").strip().strip('"')  # {"answer": 42}
    return line or None


def is_bare_answer(text: str) -> bool:
    """Whether the whole text is one answer and no reasoning: one line, at most two plain words, no calculation."""
    text = text.strip()
    for opening, closing in (("$$", "$$"), ("\\[", "\\]")):
        if text.startswith(opening) and text.endswith(closing) and text.count(opening) + text.count(closing) in (2, 4):
            text = text[len(opening):-len(closing)].strip()
    if not text or "\n" in text or "\\boxed" in text or len(text) > 1000:
        return False
    plain = _COMMAND.sub(" ", in_digits(text))
    words = [word for word in _WORD.findall(plain) if word.lower() not in _FUNCTIONS]
    if len(words) > 2:
        return False
    left, equals, _ = text.rpartition("=")
    # "x = 5" and "2x + y = 0" are answers; "3*4 = 12" is a step towards one.
    return not equals or (not words and re.search(r"[A-Za-z]", _COMMAND.sub(" ", left)) is not None)


def last_line(text: str) -> str | None:
    """The last line that is not blank, without white space around it: where puzzle policies put their answer."""
    lines = [line for line in after_thinking(text).splitlines() if line.strip()]
    return lines[-1].strip() if lines else None
