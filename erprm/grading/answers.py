r"""Final answers as mathematics: a text read once into a form.

    read("5 cm")                  # a leaf: the exact value 5 with its unit
    read("x<2")                   # the interval (-\infty, 2)
    read("100,200")               # a number and a list, the likeliest first

A form is a leaf (an exact value with its unit, or words), a group (list, set, tuple, interval, union, matrix, ratio) or
a relation. `erprm.grading.comparing` compares them. The work is bounded: `LONGEST` characters, `_DEEPEST` brackets, one
pass over the text per level.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from erprm.grading.expressions import Expression, read_expression
from erprm.grading.normalise import notation, squeezed
from erprm.grading.units import Unit, read_unit

LONGEST, _DEEPEST, _LONGEST_IN_BASE = 10_000, 12, 300

_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("***", "***"), ("**", "**"), ("*", "*"),
             ("__", "__"), ("`", "`"), ('"', '"'), ("“", "”"), ("``", "''"), ("'", "'"))
_INLINE = re.compile(r"(?<!\\)\$(?=[^\s$])([^$]*[^\s$\\])\$(?!\d)|\\\((.*?)\\\)", re.DOTALL)
_REMARK = re.compile(r"(?<=\S)\s+\((?!\s*(?:mod|base|in base)\b)(?=[^()]*[A-Za-z]{3}|(?:as|so)\b|=)[^()\\]*\)$")
_LABEL = re.compile(r"\(([A-J])\)\s*[.:]?\s*(?=\S)|([A-J])\)\s*(?=\S)")
_CURRENCY = re.compile(r"(?P<sign>[+-]?)\s*(?P<unit>US\s?\$|[$€£¥₹]|USD|EUR|GBP|Rs\.?)\s*(?P<number>[+-]?[\d.][\d.,]*)"
                       r"(?P<rest>.*)", re.DOTALL)
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "eleven": 11, "twelve": 12, "sixteen": 16}
_BASE = re.compile(r"\(?(?:\\text\{)?(?P<digits>[0-9A-Fa-f.]*\d[0-9A-Fa-f.]*|[A-Fa-f]+(?=_\{?16))\}?\)?"
                   r"(?:\s*_\s*[{(\s]*(?:\\text\{)?\s*|\s*\(?(?:in )?(?:base|\\text\{base\})[ -]?\{?)"
                   r"(?P<base>\d+|[a-z]+)[\s})]*"
                   r"|0(?P<prefix>[box])(?P<prefixed>[0-9A-Fa-f]+)")
_RATIO = re.compile(r"[^:]+(?::[^:]+){1,2}")
_CLOCK = re.compile(r"(\d{1,2}:\d\d(?::\d\d)?)\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
_MATRIX = re.compile(r"[\[(]?\s*\\begin\{([a-zA-Z]*matrix\*?|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}\s*[\])]?",
                     re.DOTALL)
_RELATION = re.compile(r"\\(?:le|ge|ne|in|approx|equiv|cong|sim)(?![A-Za-z])|[<>]=?|!=|=+")
_NAME = re.compile(r"(?:[A-Za-z]|\\(?:vec|hat|bar|overline|overrightarrow)\s?\{\w+\}|\\[a-zA-Z]+)"
                   r"(?:_\{?\w+\}?|'+|\^\{-1\})*(?:\([a-zA-Z](?:,\s?[a-zA-Z])*\))?")
_AND = re.compile(r"\s+(?:and|or|&|和|或)\s+|(?<=[\d)}])\s*(?:和|或)\s*(?=[\d({\\-])")
_SIGNS = re.compile(r"\\[pm][mp](?![A-Za-z])")
_WORD = re.compile(r"[A-Za-z]{2,}")
_MIXED = re.compile(r"(-?\d+) and (\d+/\d+|\\frac\{\d+\}\{\d+\})( .*)?")
_PAIRS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value with its unit, or what could not be read as one (`value.terms` is None)."""

    text: str
    value: Expression
    unit: Unit


@dataclass(frozen=True, slots=True)
class Group:
    """Several forms. `kind`: "list", "set", "union" (in any order), "()", "[)", ..., "matrix 2 2", ":", "base"."""

    text: str
    kind: str
    items: tuple[Form, ...]

    @property
    def ordered(self) -> bool:
        """Whether the order of the items counts."""
        return self.kind not in ("list", "set", "union")


@dataclass(frozen=True, slots=True)
class Relation:
    """left `sign` right; `name` where the left side only names what the right side is."""

    text: str
    sign: str
    left: Form
    right: Form
    name: str


Form = Leaf | Group | Relation


def tidy(answer: str) -> str:
    r"""`answer` without what surrounds it: white space, math delimiters, emphasis, quotes, `\boxed`, closing marks."""
    text, before = answer.strip(), ""
    while text != before and len(text) <= LONGEST:
        before = text
        text = text.strip().strip("\u200b\ufeff✅✔✓☑")
        if text.endswith("\\."):
            text = text[:-2]
        elif not re.search(r"[\d)}A-Za-z]!$|\\[,;:!]$", text[-2:]):
            text = text.rstrip(" \t\r\n.,;:。，；：!！")
        text = re.sub(r"\\[,;:! ]$|^\\[,;:! ]|^\\text\s*\{\s*the (?:final )?answer is:?\s*\}", "", text,
                      flags=re.IGNORECASE)
        for opening, closing in _WRAPPERS:
            inner = text[len(opening):-len(closing)]
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing) \
                    and opening not in inner and closing not in inner and not inner.endswith("\\"):
                text = inner
        boxed = re.match(r"\\(?:boxed|fbox)\s*\{", text)
        if boxed and text.endswith("}"):
            text = text[boxed.end():-1]
    return text


def split_top(text: str, separators: str) -> list[str]:
    """`text` at the separators that stand in no brackets."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(text):
        char = text[place]
        if char == "\\" and place + 1 < len(text):
            depth += (text[place + 1] == "{") - (text[place + 1] == "}")
            place += 1
        elif char in separators and depth == 0:
            parts.append(text[start:place])
            start = place + 1
        else:
            depth += (char in "([{") - (char in ")]}")
        place += 1
    return [*parts, text[start:]]


@functools.lru_cache(maxsize=1 << 12)
def read(answer: str) -> tuple[Form, ...]:
    """The forms that `answer` may be meant as, the likeliest first; none for an empty or a very long answer."""
    text = tidy(answer) if len(answer) <= LONGEST else ""
    if not text:
        return ()
    text = _INLINE.sub(lambda match: match[1] or match[2] or "", text)
    text = re.sub(r"\(\s*\\?mod\s*(\w+)\s*\)", r"\\pmod \1", _REMARK.sub("", notation(text)))
    text = re.sub(r"^\\(?:approx|sim)(?![A-Za-z])\s*", "", text)
    while text.startswith("{") and text.endswith("}") and _closes_last(text, 0):
        text = text[1:-1].strip()
    forms = [_read(text, 0)]
    if re.search(r"\d,\d{3}(?!\d)", text) and "," in text:  # 100,200 may be a number and a list
        for separators in (", ", ","):
            parts = text.split(", ") if separators == ", " else split_top(text, ",")
            if len(parts) > 1 and not any(char in text for char in "([{="):
                forms.append(Group(squeezed(text), "list", tuple(_read(part.strip(), 1) for part in parts)))
    mixed = _MIXED.fullmatch(text)
    if mixed:
        forms.append(_read(f"{mixed[1]} {mixed[2]}{mixed[3] or ''}", 0))
    label = _LABEL.match(text)
    if label:
        forms.append(_read(text[label.end():], 0))
    return tuple(forms)


def _read(text: str, depth: int) -> Form:
    text = text.strip()
    if depth > _DEEPEST:
        return leaf_of(text)
    return (_matrix(text, depth) or _union(text, depth) or _named(text, depth) or _list(text, depth)
            or _related(text, depth) or _bracketed(text, depth) or _reals(text) or _ratio(text) or _in_base(text)
            or leaf_of(text))


def _union(text: str, depth: int) -> Form | None:
    parts = re.split(r"\\cup(?![A-Za-z])", text)
    if len(parts) == 1 and _RELATION.search(text):
        parts = re.split(r"\s+or\s+|\\vee(?![A-Za-z])", text)
        if not all(re.search(r"[<>]|\\[lg]e", part) for part in parts):
            return None
    if len(parts) == 1:
        return None
    head = re.match(r"\s*[A-Za-z]\s*\\in(?![A-Za-z])", parts[0])
    parts[0] = parts[0][head.end():] if head else parts[0]
    return Group(squeezed(text), "union", tuple(_read(part, depth + 1) for part in parts))


def _named(text: str, depth: int) -> Form | None:
    """`n = 2,3,4` and `x \\in [1,2]`: one name for all that follows."""
    signs = list(_RELATION.finditer(text))
    if len(signs) != 1 or signs[0][0] not in ("=", "\\in"):
        return None
    left = text[:signs[0].start()].strip()
    if not _NAME.fullmatch(left.replace(" ", "")):
        return None
    right = _read(text[signs[0].end():], depth + 1)
    if signs[0][0] == "\\in":
        return right
    return Relation(squeezed(text), "=", leaf_of(left), right, left.replace(" ", ""))


def _list(text: str, depth: int) -> Form | None:
    if not re.search(r"[,;&]| and | or |和|或", text):
        return None
    parts = split_top(text, ",;") if not re.fullmatch(r"[^\d,(\[{]*\d{1,3}(,\d{3})+(\.\d+)?[^\d,]*", text) else [text]
    items: list[str] = []
    for part in parts:
        part = re.sub(r"^\s*(?:and|or|&)\s+", "", part)
        pieces = _AND.split(part)
        wordy = any(_WORD.sub("", piece).strip() == "" and len(piece.strip()) > 1 for piece in pieces)
        items += [part] if wordy and len(parts) == 1 else pieces if not wordy else [part]
    items = [item.strip() for item in items]
    if len(items) < 2 or not all(items):
        return None
    if re.fullmatch(r"(?s)\D*", text) and len(parts) > 1 and any(len(item.split()) > 3 for item in items):
        return None  # a sentence with commas
    if not all(re.search(r"[=<>:(\\]", item) or _balanced(item) for item in items):
        return None
    read_items = [_read(item, depth + 1) for item in items]
    flat = [inner for item in read_items
            for inner in (item.items if isinstance(item, Group) and item.kind == "list" else (item,))]
    return Group(squeezed(text), "list", tuple(flat))


def _balanced(text: str) -> bool:
    return all(text.count(opening) == text.count(closing) for opening, closing in _PAIRS.items())


def _related(text: str, depth: int) -> Form | None:
    signs = [match for match in _RELATION.finditer(text) if _outside(text, match.start())]
    if not signs:
        return None
    sides = [text[a:b].strip() for a, b in zip([0, *(sign.end() for sign in signs)],
                                               [*(sign.start() for sign in signs), len(text)], strict=True)]
    names = [{"<=": "\\le", ">=": "\\ge", "!=": "\\ne", "==": "="}.get(sign[0], sign[0]) for sign in signs]
    if not all(sides):
        return None
    interval = _interval(text, sides, names, depth)
    if interval is not None:
        return interval
    if len(names) > 1 and set(names) == {"="}:  # x = 2 + 3 = 5
        left, right = sides[0], sides[-1]
    elif len(names) == 1:
        left, right = sides
    else:
        return None
    name = squeezed(left) if _NAME.fullmatch(squeezed(left)) else ""
    if not name and names[0] == "=":
        if _NAME.fullmatch(squeezed(right)):
            left, right, name = right, left, squeezed(right)
        elif not re.search(r"[A-Za-z]", left):
            return _read(right, depth + 1)  # 3*4 = 12
    return Relation(squeezed(text), names[0], leaf_of(left), _read(right, depth + 1), name)


def _outside(text: str, place: int) -> bool:
    """Whether `place` stands in no brackets."""
    return all(text.count(opening, 0, place) <= text.count(closing, 0, place) for opening, closing in _PAIRS.items())


def _reals(text: str) -> Form | None:
    """All real numbers as the interval that they are."""
    return _read("(-\\infty,\\infty)", 1) if re.fullmatch(r"\\mathbb\s*\{?R\}?", text) else None


def _interval(text: str, sides: Sequence[str], signs: Sequence[str], depth: int) -> Form | None:
    """-1 \\le x < 2, x > 3, 3 < x."""
    up, down = {"<": "(", "\\le": "["}, {">": "(", "\\ge": "["}
    if len(sides) == 2 and re.fullmatch(r"[A-Za-z]", sides[0]):
        ends = (("(", "-\\infty"), (up.get(signs[0], ""), sides[1])) if signs[0] in up else \
            ((down.get(signs[0], ""), sides[1]), ("(", "\\infty"))
    elif len(sides) == 2 and re.fullmatch(r"[A-Za-z]", sides[1]):
        ends = ((up.get(signs[0], ""), sides[0]), ("(", "\\infty")) if signs[0] in up else \
            (("(", "-\\infty"), (down.get(signs[0], ""), sides[0]))
    elif len(sides) == 3 and re.fullmatch(r"[A-Za-z]", sides[1]):
        ways = up if signs[0] in up else down
        ends = ((ways.get(signs[0], ""), sides[0]), (ways.get(signs[1], ""), sides[2]))
        ends = ends if ways is up else (ends[1], ends[0])
    else:
        return None
    if not ends[0][0] or not ends[1][0]:
        return None
    kind = ends[0][0] + {"(": ")", "[": "]"}[ends[1][0]]
    return Group(squeezed(text), kind, (_read(ends[0][1], depth + 1), _read(ends[1][1], depth + 1)))


def _matrix(text: str, depth: int) -> Form | None:
    match = _MATRIX.fullmatch(text)
    if not match:
        return None
    rows = [row.split("&") for row in re.split(r"\\\\", match[2]) if row.strip()]
    cells = tuple(_read(cell, depth + 1) for row in rows for cell in row)
    determinant = match[1] in ("vmatrix", "Vmatrix")
    return Group(squeezed(text), f"{'determinant' if determinant else 'matrix'} {[len(row) for row in rows]}", cells)


def _bracketed(text: str, depth: int) -> Form | None:
    opening = next((mark for mark in ("\\{", "(", "[", "{") if text.startswith(mark)), None)
    closing = next((mark for mark in ("\\}", ")", "]", "}") if text.endswith(mark)), None)
    if opening is None or closing is None or len(text) < len(opening) + len(closing):
        return None
    inner = text[len(opening):-len(closing)]
    if len(split_top(inner + ",", ",")) < 2 or not _closes_last(text, len(opening) - 1):
        return None
    if opening in ("\\{", "{") and closing in ("\\}", "}"):
        inside = re.split(r"(?<!\\)\||:", inner)
        if len(inside) == 2:
            return _read(inside[1], depth + 1)  # {x | x > 3}
        parts = [part for part in split_top(inner, ",;") if part.strip()]
        items = [_read(part, depth + 1) for part in parts]
        flat = [one for item in items
                for one in (item.items if isinstance(item, Group) and item.kind == "list" else (item,))]
        return Group(squeezed(text), "set", tuple(flat))
    kind = opening + closing
    parts = split_top(inner, ",")
    if len(parts) == 1:
        return _read(inner, depth + 1) if kind == "()" else None
    return Group(squeezed(text), kind, tuple(_read(part, depth + 1) for part in parts))


def _closes_last(text: str, place: int) -> bool:
    """Whether the bracket at `place` is closed by the last one of `text`."""
    depth = 0
    for index, char in enumerate(text[place:], start=place):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and index < len(text) - 1 and text[index:index + 1] in ")]}":
            return False
    return True


def _ratio(text: str) -> Form | None:
    clock = _CLOCK.fullmatch(text.replace(r"\text{", "").replace("}", "").strip())
    if clock:
        half = (clock[2] or "").lower()
        hour, _, rest = clock[1].partition(":")
        return Group(squeezed(text), ":", tuple(leaf_of(part) for part in (hour, *rest.split(":"), *half)))
    if ":" in text and _RATIO.fullmatch(text):
        return Group(squeezed(text), ":", tuple(leaf_of(part.strip()) for part in text.split(":")))
    return None


def _in_base(text: str) -> Form | None:
    match = _BASE.fullmatch(text) if len(text) <= _LONGEST_IN_BASE else None
    if not match:
        return None
    named = match["base"] or {"b": "2", "o": "8", "x": "16"}[match["prefix"]]
    base = int(named) if named.isdecimal() and len(named) < 4 else _BASES.get(named, 0)
    digits = (match["digits"] or match["prefixed"]).upper().lstrip("0") or "0"
    if not 2 <= base <= 36 or (any(char.isalpha() for char in digits) and base <= 10):
        return None
    return Group(squeezed(text), "base", (leaf_of(digits), leaf_of(str(base))))


def leaf_of(text: str) -> Leaf:
    if _SIGNS.search(text):
        return Leaf(squeezed(text), Expression(None), Unit())
    text = text.strip()
    money = _CURRENCY.fullmatch(text)
    if money:
        rest = money["rest"].strip()
        symbol = money["unit"][-1:] if "$" in money["unit"] else money["unit"]
        text = f"{money['sign']}{money['number']}{rest} {symbol}" \
            if rest[:1] in ("/", "^", "\\") and rest[1:2].isdecimal() else \
            f"{money['sign']}{money['number']} {money['unit'].replace('US', '').strip('D .') or 'USD'} {rest}"
    infinite = re.fullmatch(r"([+-]?)\s*\\infty", text)
    if infinite:
        sign = Fraction(-1 if infinite[1] == "-" else 1)
        return Leaf(squeezed(text), Expression(frozenset([((1, (("∞", 1),)), sign)])), Unit())
    value = read_expression(text)
    unit = read_unit(value.rest) if value.terms is not None else None
    if unit is None:
        return Leaf(squeezed(text), Expression(None, rest=value.rest), Unit())
    return Leaf(squeezed(text), value, unit)


def choice_letter(answer: str) -> str | None:
    """The letter of a multiple-choice answer: "B", "(B)", "B) Paris", "option b"; None where there is none."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", notation(tidy(answer[:LONGEST]))).strip("*_{} ")
    text = re.sub(r"^(?:option|choice|answer)\s+", "", text, flags=re.IGNORECASE)
    match = (re.match(r"[(\[]?\s*([A-Z])\s*(?:[)\].:,]|-\s|$)", text)
             or re.fullmatch(r"[(\[]?\s*([a-z])\s*[)\]]?[.:]?", text))
    return match[1].upper() if match else None


def spread(form: Form) -> Form:
    r"""A leaf with `\pm` as the list of its two values; items of a group likewise."""
    if isinstance(form, Leaf) and _SIGNS.search(form.text):
        if len(_SIGNS.findall(form.text)) > 1:
            return form
        return Group(form.text, "list", tuple(leaf_of(_SIGNS.sub(sign, form.text)) for sign in "+-"))
    if isinstance(form, Group) and form.kind in ("list", "set"):
        items = [spread(item) for item in form.items]
        flat = [one for item in items
                for one in (item.items if isinstance(item, Group) and item.kind == "list" else (item,))]
        return Group(form.text, form.kind, tuple(flat))
    return form
