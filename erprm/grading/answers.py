r"""Final answers as mathematics: read once into a form, and two forms compared.

    equal(r"\frac{1}{2}", "0.5")                     # True
    equal("(-\infty,2)", "x<2")                      # True
    equal("5 cm", r"5\text{ m}")                     # False
    equal(r"\log_2 8", "3")                          # None: not certain without algebra
    vote(r"\dfrac12") == vote("1/2") == vote("0.5")  # True

A form is a leaf (an exact value with its unit, or words), a group (list, set, tuple, interval, union, matrix, ratio) or
a relation. What has one exact value is compared exactly; only two leaves of which one has none are left to algebra,
which the caller brings (`leaf`). The work is bounded: `_LONGEST` characters, `_DEEPEST` brackets, one pass per level.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from erprm.grading.expressions import Expression, is_product, read_expression
from erprm.grading.normalise import notation, squeezed
from erprm.grading.units import Unit, read_unit

_LONGEST, _DEEPEST, _MOST_LEFT = 10_000, 12, 24
_ROUNDED = 6  # significant digits from which a decimal may stand for a fraction or a root

_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("***", "***"), ("**", "**"), ("*", "*"),
             ("__", "__"), ("`", "`"), ('"', '"'), ("“", "”"), ("``", "''"), ("'", "'"))
_INLINE = re.compile(r"(?<!\\)\$(?=[^\s$])([^$]*[^\s$\\])\$(?!\d)|\\\((.*?)\\\)", re.DOTALL)
_REMARK = re.compile(r"(?<=\S)\s+\((?!\s*(?:mod|base|in base)\b)(?=[^()]*[A-Za-z]{3})[^()\\]*\)$")
_LABEL = re.compile(r"\(([A-J])\)\s*[.:]?\s*(?=\S)|([A-J])\)\s*(?=\S)")
_CURRENCY = re.compile(r"(?P<sign>[+-]?)\s*(?P<unit>US\s?\$|[$€£¥₹]|USD|EUR|GBP|Rs\.?)\s*(?P<number>[+-]?[\d.][\d.,]*)"
                       r"(?P<rest>.*)", re.DOTALL)
_BASES = dict(zip("two three four five six seven eight nine ten eleven twelve sixteen".split(),
                  [*range(2, 13), 16], strict=True))
_BASE = re.compile(r"\(?(?:\\text\{)?(?P<digits>[0-9A-Fa-f.]*\d[0-9A-Fa-f.]*|[A-Fa-f]+(?=_\{?16))\}?\)?"
                   r"(?:\s*_\s*\{?\s*(?:\\text)?\{?\s*|\s*\(?(?:in )?base[ -]?\{?)(?P<base>\d+|[a-z]+)\s*\}*\)?")
_RATIO = re.compile(r"[^:]+(?::[^:]+){1,2}")
_CLOCK = re.compile(r"(\d{1,2}:\d\d(?::\d\d)?)\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
_MATRIX = re.compile(r"\\begin\{([a-zA-Z]*matrix\*?|array)\}(?:\{[lcr|]*\})?(.*)\\end\{\1\}", re.DOTALL)
_RELATION = re.compile(r"\\(?:le|ge|ne|in|approx|equiv|cong|sim)(?![A-Za-z])|[<>]=?|!=|=+")
_NAME = re.compile(r"(?:[A-Za-z]|\\[a-zA-Z]+)(?:_\{?\w+\}?|'+|\^\{-1\})*(?:\([a-zA-Z](?:,\s?[a-zA-Z])*\))?")
_AND = re.compile(r"\s+(?:and|or|&|和|或)\s+|(?<=[\d)}])\s*(?:和|或)\s*(?=[\d({\\-])")
_SIGNS = re.compile(r"\\[pm][mp](?![A-Za-z])")
_WORD = re.compile(r"[A-Za-z]{2,}")
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
Decide = Callable[[str, str], bool | None]  # whether two expressions without units are equal


def tidy(answer: str) -> str:
    r"""`answer` without what surrounds it: white space, math delimiters, emphasis, quotes, `\boxed`, closing marks."""
    text, before = answer, ""
    while text != before:
        before = text
        text = text.strip().strip("\u200b\ufeff")
        text = text[:-2] if text.endswith("\\.") else re.sub(r"[\s.,;:。，；：!！]+$", "", text) if \
            not re.search(r"[\d)}A-Za-z]!$", text) and not text.endswith(("\\,", "\\;", "\\:", "\\!")) else text
        text = re.sub(r"\\[,;:! ]$|^\\[,;:! ]", "", text)
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
    text = tidy(answer) if len(answer) <= _LONGEST else ""
    if not text:
        return ()
    text = _INLINE.sub(lambda match: match[1] or match[2] or "", text)
    text = re.sub(r"\(\s*\\?mod\s*(\w+)\s*\)", r"\\pmod \1", _REMARK.sub("", notation(text)))
    while text.startswith("{") and text.endswith("}") and _closes_last(text, 0):
        text = text[1:-1].strip()
    forms = [_read(text, 0)]
    if re.search(r"\d,\d{3}(?!\d)", text) and "," in text:  # 100,200 may be a number and a list
        for separators in (", ", ","):
            parts = text.split(", ") if separators == ", " else split_top(text, ",")
            if len(parts) > 1 and not any(char in text for char in "([{="):
                forms.append(Group(squeezed(text), "list", tuple(_read(part.strip(), 1) for part in parts)))
    label = _LABEL.match(text)
    if label:
        forms.append(_read(text[label.end():], 0))
    return tuple(forms)


def _read(text: str, depth: int) -> Form:
    text = text.strip()
    if depth > _DEEPEST:
        return _leaf(text)
    return (_union(text, depth) or _named(text, depth) or _list(text, depth) or _related(text, depth)
            or _matrix(text, depth) or _bracketed(text, depth) or _ratio(text) or _in_base(text) or _leaf(text))


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
    return Relation(squeezed(text), "=", _leaf(left), right, left.replace(" ", ""))


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
    return Relation(squeezed(text), names[0], _leaf(left), _read(right, depth + 1), name)


def _outside(text: str, place: int) -> bool:
    """Whether `place` stands in no brackets."""
    return all(text.count(opening, 0, place) <= text.count(closing, 0, place) for opening, closing in _PAIRS.items())


def _interval(text: str, sides: Sequence[str], signs: Sequence[str], depth: int) -> Form | None:
    """-1 \\le x < 2, x > 3, 3 < x."""
    up, down = {"<": "(", "\\le": "["}, {">": "(", "\\ge": "["}
    if len(sides) == 2 and re.fullmatch(r"[A-Za-z]", sides[0]):
        sides, signs = ((sides[1], *sides), ("", *signs)) if False else (sides, signs)
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
    opening = next((mark for mark in ("\\{", "\\langle", "(", "[", "{") if text.startswith(mark)), None)
    closing = next((mark for mark in ("\\}", "\\rangle", ")", "]", "}") if text.endswith(mark)), None)
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
    kind = {"\\langle": "("}.get(opening, opening) + {"\\rangle": ")"}.get(closing, closing)
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
        return Group(squeezed(text), ":", tuple(_leaf(part) for part in (hour, *rest.split(":"), *half)))
    if ":" in text and _RATIO.fullmatch(text):
        return Group(squeezed(text), ":", tuple(_leaf(part.strip()) for part in text.split(":")))
    return None


def _in_base(text: str) -> Form | None:
    match = _BASE.fullmatch(text)
    if not match or (match["base"].isalpha() and match["base"] not in _BASES):
        return None
    base = int(match["base"]) if match["base"].isdecimal() and len(match["base"]) < 4 else _BASES.get(match["base"], 0)
    digits = match["digits"].upper().lstrip("0") or "0"
    if not 2 <= base <= 36 or any(char.isalpha() for char in digits) and base <= 10:
        return None
    return Group(squeezed(text), "base", (_leaf(digits), _leaf(str(base))))


def _leaf(text: str) -> Leaf:
    if _SIGNS.search(text):
        return Leaf(squeezed(text), Expression(None), Unit())
    text = text.strip()
    money = _CURRENCY.fullmatch(text)
    if money:
        rest = money["rest"].strip()
        text = f"{money['sign']}{money['number']}{rest} {money['unit'][-1:] if '$' in money['unit'] else money['unit']}" \
            if rest[:1] in ("/", "^", "\\") and rest[1:2].isdecimal() else \
            f"{money['sign']}{money['number']} {money['unit'].replace('US', '').strip('D .') or 'USD'} {rest}"
    infinite = re.fullmatch(r"([+-]?)\s*\\infty", text)
    if infinite:
        value = Fraction(-1 if infinite[1] == "-" else 1)
        return Leaf(squeezed(text), Expression(frozenset([((1, (("∞", 1),)), value)])), Unit())
    value = read_expression(text)
    unit = read_unit(value.rest) if value.terms is not None else None
    if unit is None:
        return Leaf(squeezed(text), Expression(None, rest=value.rest), Unit())
    return Leaf(squeezed(text), value, unit)


def equal(answer: str, gold: str, leaf: Decide | None = None) -> bool | None:
    """Whether two answers are equal; None where that needs algebra and no `leaf` decides it.

    Args:
        leaf: decides two expressions in TeX, without units.
    """
    lefts, rights = read(answer), read(gold)
    if not lefts or not rights:
        return bool(tidy(answer)) and tidy(answer) == tidy(gold)
    letter = choice_letter(gold)
    if letter is not None and re.fullmatch(r"\(?[A-J]\)?", rights[0].text):
        return letter == choice_letter(answer)
    verdicts = []
    for left in lefts:
        for right in rights:
            verdict = _same(left, right, leaf or _undecided)
            if verdict:
                return True
            verdicts.append(verdict)
    return None if None in verdicts else False


def _undecided(left: str, right: str) -> bool | None:
    return None


def choice_letter(answer: str) -> str | None:
    """The letter of a multiple-choice answer: "B", "(B)", "B) Paris", "option b"; None where there is none."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", notation(tidy(answer[:_LONGEST]))).strip("*_{} ")
    text = re.sub(r"^(?:option|choice|answer)\s+", "", text, flags=re.IGNORECASE)
    match = re.match(r"[(\[]?\s*([A-Z])\s*(?:[)\].:,]|-\s|$)", text) or re.fullmatch(r"[(\[]?\s*([a-z])\s*[)\]]?[.:]?", text)
    return match[1].upper() if match else None


def _same(left: Form, right: Form, leaf: Decide) -> bool | None:
    if left.text == right.text:
        return True
    if isinstance(left, Relation) or isinstance(right, Relation):
        return _same_relation(left, right, leaf)
    left, right = _spread(left), _spread(right)
    if isinstance(left, Group) or isinstance(right, Group):
        return _same_groups(left, right, leaf)
    return _same_leaves(left, right, leaf)


def _same_relation(left: Form, right: Form, leaf: Decide) -> bool | None:
    if not (isinstance(left, Relation) and isinstance(right, Relation)):
        named, other = (left, right) if isinstance(left, Relation) else (right, left)
        assert isinstance(named, Relation)
        return _same(named.right, other, leaf) if named.name and named.sign == "=" else False
    if left.sign != right.sign:
        return False
    moved = _moved(left), _moved(right)
    if left.sign == "=" and moved[0] is not None and moved[1] is not None:
        if moved[0] == moved[1]:
            return True
        if not ("(" in left.name or "(" in right.name):
            return False
    elif left.name and right.name and left.name != right.name and not ("(" in left.name or "(" in right.name):
        return False
    if left.name and right.name:
        return _same(left.right, right.right, leaf)
    sides = [_same(left.left, right.left, leaf), _same(left.right, right.right, leaf)]
    return False if False in sides else None if None in sides else True


def _moved(relation: Relation) -> frozenset[tuple[object, Fraction]] | None:
    """left - right of an equation, its first coefficient 1."""
    if not isinstance(relation.left, Leaf) or not isinstance(relation.right, Leaf):
        return None
    left, right = relation.left.value.terms, relation.right.value.terms
    if left is None or right is None or "(" in relation.name:
        return None
    total: Counter[object] = Counter()
    for terms, sign in ((left, 1), (right, -1)):
        for monomial, factor in terms:
            total[monomial] += sign * factor  # type: ignore[assignment]
    kept = sorted((item for item in total.items() if item[1]), key=lambda item: repr(item[0]))
    return frozenset((monomial, Fraction(factor) / Fraction(kept[0][1])) for monomial, factor in kept)


def _spread(form: Form) -> Form:
    r"""A leaf with `\pm` as the list of its two values; items of a group likewise."""
    if isinstance(form, Leaf) and _SIGNS.search(form.text):
        if len(_SIGNS.findall(form.text)) > 1:
            return form
        return Group(form.text, "list", tuple(_leaf(_SIGNS.sub(sign, form.text)) for sign in "+-"))
    if isinstance(form, Group) and form.kind in ("list", "set"):
        items = [_spread(item) for item in form.items]
        flat = [one for item in items
                for one in (item.items if isinstance(item, Group) and item.kind == "list" else (item,))]
        return Group(form.text, form.kind, tuple(flat))
    return form


def _same_groups(left: Form, right: Form, leaf: Decide) -> bool | None:
    if not isinstance(left, Group) or not isinstance(right, Group):
        group, other = (left, right) if isinstance(left, Group) else (right, left)
        assert isinstance(group, Group)
        if group.kind == "base" or (group.kind == "set" and len(group.items) == 1):
            return _same(group.items[0], other, leaf)
        if group.kind == ":" and len(group.items) == 2 and "/" in other.text + "\\frac":
            top, bottom = group.items
            return _same(_leaf(f"({top.text})/({bottom.text})"), other, leaf) if "/" in other.text \
                or "\\frac" in other.text else False
        return False
    kinds = {left.kind, right.kind}
    if kinds == {"list", "set"} or (len(kinds) == 1 and not left.ordered):
        return _same_items(left.items, right.items, leaf, distinct="set" in kinds)
    if len(kinds) > 1 and kinds != {"list", "()"}:
        return False
    if len(left.items) != len(right.items):
        return False
    verdicts = [_same(a, b, leaf) for a, b in zip(left.items, right.items, strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _same_items(lefts: Sequence[Form], rights: Sequence[Form], leaf: Decide, distinct: bool) -> bool | None:
    """Whether two collections hold the same, in any order."""
    ours, theirs = ({_key(form): form for form in forms} if distinct else None for forms in (lefts, rights))
    if ours is not None and theirs is not None:
        left, right = [ours[key] for key in ours if key not in theirs], [theirs[key] for key in theirs if key not in ours]
    else:
        common = Counter(map(_key, lefts)) & Counter(map(_key, rights))
        left, right = _without(lefts, common), _without(rights, common)
    if len(left) != len(right) or len(left) > _MOST_LEFT:
        return False
    certain = True
    for one in left:
        verdicts = [_same(one, other, leaf) for other in right]
        if True in verdicts:
            right.pop(verdicts.index(True))
        elif None in verdicts:
            certain = False
        else:
            return False
    return True if certain else None


def _without(forms: Sequence[Form], common: Counter[str]) -> list[Form]:
    left, rest = Counter(common), []
    for form in forms:
        key = _key(form)
        if left[key]:
            left[key] -= 1
        else:
            rest.append(form)
    return rest


def _same_leaves(left: Leaf, right: Leaf, leaf: Decide) -> bool | None:
    if left.value.terms is None or right.value.terms is None:
        if _words(left.text) and _words(left.text) == _words(right.text):
            return True
        if _is_algebra(left) and _is_algebra(right):
            return leaf(left.text, right.text)
        return False
    if not left.unit.agrees(right.unit):
        return False
    shared = left.unit.dimensions == right.unit.dimensions
    for a in _scales(left, right, shared):
        for b in _scales(right, left, shared):
            if _times(left.value, a) == _times(right.value, b) or _rounds(left, a, right, b):
                return True
    if _lowered(left.value) == _lowered(right.value) and not (left.unit.dimensions or right.unit.dimensions):
        return leaf(left.text, right.text)  # 2k and 2K: some see the same variable
    return False


def _lowered(value: Expression) -> Counter[str]:
    return Counter(repr(term).lower() for term in value.terms or ())


def _scales(form: Leaf, other: Leaf, shared: bool) -> list[Fraction]:
    """By what the number as written may have to be multiplied."""
    if form.unit.is_percent and not other.unit.dimensions:
        return [form.unit.scale / 100, form.unit.scale]
    return [form.unit.scale * form.unit.factor if shared else form.unit.scale]


def _times(value: Expression, scale: Fraction) -> frozenset[tuple[object, Fraction]] | None:
    return None if value.terms is None else frozenset((name, factor * scale) for name, factor in value.terms)


def _rounds(left: Leaf, a: Fraction, right: Leaf, b: Fraction) -> bool:
    """Whether one is a decimal of enough digits, and the other an exact value that rounds to it."""
    if bool(left.value.digits) == bool(right.value.digits):
        return False
    (decimal, scale), (exact, other) = ((left, a), (right, b)) if left.value.digits else ((right, b), (left, a))
    return rounds_to(decimal.value, scale, exact.value, other, _ROUNDED)


def rounds_to(decimal: Expression, scale: Fraction, exact: Expression, other: Fraction, digits: int) -> bool:
    """Whether exact * other, to the places of decimal * scale, is that, which has at least `digits` significant
    digits."""
    if decimal.digits < digits:
        return False
    written, value = decimal.value(), exact.value()
    if written is None or value is None:
        return False
    written, value = (number * Decimal(part.numerator) / Decimal(part.denominator)
                      for number, part in ((written, scale), (value, other)))
    ulp = Decimal(10) ** -decimal.places * Decimal(scale.numerator) / Decimal(scale.denominator)
    return 2 * abs(written - value) <= ulp


def _words(text: str) -> str:
    """The words of a text answer, or "" where it is none."""
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)
    return " ".join(re.sub(r"[.,!'\"]", "", text).lower().split()) if re.search(r"[^\W\d_]{2}", text) else ""


def _is_algebra(form: Leaf) -> bool:
    """Whether a text is one expression that an algebra system may be asked about: no words, no lists, no relations."""
    text = re.sub(r"\\[A-Za-z]+", " ", form.text)
    if "\\text" in form.text or len(form.text) > 1000 or re.search(r"[^\x00-\x7f]|[=<>,;:?\"#&$~]|(?<![_\d])\d+ \d", text) \
            or re.search(r"\\(?:[lc]?dots|pm|mp|cup|cap|begin|to)(?![A-Za-z])", form.text):
        return False
    return all(is_product(word) or word in _NAMED for word in _WORD.findall(text))


_NAMED = frozenset("sin cos tan cot sec csc log ln exp sqrt gcd lcm mod pi arcsin arccos arctan".split())


def _key(form: Form) -> str:
    """A text that is the same only for forms that are equal."""
    return _text_of(form, True)


def _text_of(form: Form, units: bool) -> str:
    if isinstance(form, Relation):
        return _text_of(form.right, units) if form.name and form.sign == "=" and not units else form.text
    form = _spread(form)
    if isinstance(form, Group):
        parts = [_text_of(item, units) for item in form.items]
        if form.kind == "base" and not units:
            return parts[0]
        return f"{'list' if form.kind == 'set' else form.kind}[{', '.join(parts if form.ordered else sorted(parts))}]"
    assert isinstance(form, Leaf)
    if form.value.terms is None:
        return _words(form.text) or form.text
    scale = form.unit.scale * (form.unit.factor if units else Fraction(1, 100 if form.unit.is_percent else 1))
    terms = sorted((repr(name), str(factor * scale)) for name, factor in form.value.terms)
    number = terms[0][1] if [name for name, _ in terms] == ["(1, ())"] else "0" if not terms else repr(terms)
    return f"{number} {form.unit.dimensions} {form.unit.modulus}" if units else number


def vote(answer: str) -> str:
    """One text for all spellings of an answer, for counting votes: 0.5, 1/2 and \\frac12, lists in any order, words in
    any case. Units are set aside; a percentage is its hundredth."""
    forms = read(answer)
    if not forms:
        return tidy(answer)[:_LONGEST]
    letter = re.fullmatch(r"\(?([A-Ja-j])\)?", forms[0].text)
    return letter[1].upper() if letter else _text_of(forms[0], False)
