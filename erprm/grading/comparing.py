r"""When two final answers are equal.

    equal(r"\frac{1}{2}", "0.5")                     # True
    equal("(-\infty,2)", "x<2")                      # True
    equal("5 cm", r"5\text{ m}")                     # False
    equal(r"\log_2 8", "3")                          # None: not certain without algebra
    vote(r"\dfrac12") == vote("1/2") == vote("0.5")  # True

What has one exact value is compared exactly; only two leaves of which one has none are left to algebra, which the
caller brings (`leaf`). Lists are compared by their canonical texts first, and at most `_MOST_LEFT` items pairwise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from erprm.grading.answers import choice_letter, label, read
from erprm.grading.expressions import Expression
from erprm.grading.forms import Form, Group, Leaf, Relation
from erprm.grading.quantities import in_full, is_clock, leaf_of, same_ratio, spread
from erprm.grading.terms import times
from erprm.grading.tidy import LONGEST, tidy
from erprm.grading.tokens import is_product
from erprm.grading.units import Unit, read_unit

ROUNDED = 6  # significant digits from which a decimal may stand for a fraction or a root
_MOST_LEFT = 24
_WORD = re.compile(r"[A-Za-z]{2,}")
_OVER_ZERO = re.compile(r"/\s*0+(?:\.0+)?(?![\d.])|\\[dt]?frac\s*\{[^{}]{0,99}\}\s*\{\s*0+\s*\}")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\\text\{degree\}")
_NOTHING = re.compile(r"\\emptyset|(?:there (?:is|are) )?no solutions?(?: exists?)?|(?:the )?empty set", re.IGNORECASE)
_NAMED = frozenset((
    "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "gcd", "lcm", "mod", "pi", "arcsin",
    "arccos", "arctan"))

_RADIAN = read_unit(("rad",)) or Unit()

Decide = Callable[[str, str], bool | None]  # whether two expressions without units are equal


def equal(answer: str, gold: str, leaf: Decide | None = None) -> bool | None:
    """Whether two answers are equal; None where that needs algebra and no `leaf` decides it.

    Args:
        leaf: decides two expressions in TeX, without units.
    """
    if (_OVER_ZERO.search(answer) is None) != (_OVER_ZERO.search(gold) is None):
        return False
    lefts, rights = read(answer), read(gold)
    if not lefts or not rights:
        return bool(tidy(answer)) and tidy(answer) == tidy(gold)
    letter = choice_letter(gold)
    if letter is not None and re.fullmatch(r"\(?[A-J]\)?", rights[0].text):
        return letter == choice_letter(answer)
    if _has(lefts, "rank") and not _has(rights, "rank"):
        return False
    short = in_full(answer) if isinstance(rights[0], Leaf) and rights[0].value.rational is not None else None
    lefts += read(short) if short else ()
    labels = label(answer), label(gold)
    if None not in labels and labels[0] != labels[1]:
        return False
    verdicts = []
    for left in lefts:
        for right in rights:
            verdict = _same(left, right, leaf or _undecided)
            if verdict:
                return True
            verdicts.append(verdict)
    return None if None in verdicts else False


def _has(forms: Sequence[Form], dimension: str) -> bool:
    return any(isinstance(form, Leaf) and (dimension, 1) in form.unit.dimensions for form in forms)


def _undecided(left: str, right: str) -> bool | None:
    return None


def _same(left: Form, right: Form, leaf: Decide) -> bool | None:
    if left.text == right.text:
        return True
    if isinstance(left, Relation) or isinstance(right, Relation):
        return _same_relation(left, right, leaf)
    left, right = spread(left), spread(right)
    if isinstance(left, Group) or isinstance(right, Group):
        return _same_groups(left, right, leaf)
    assert isinstance(left, Leaf)
    assert isinstance(right, Leaf)
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
        if not _same_names(left.name, right.name):
            return False
    elif left.name and right.name and not _same_names(left.name, right.name):
        return False
    if left.name and right.name:
        return _same(left.right, right.right, leaf)
    sides = [_same(left.left, right.left, leaf), _same(left.right, right.right, leaf)]
    return False if False in sides else None if None in sides else True


def _same_names(left: str, right: str) -> bool:
    """Whether two names before "=" may name one thing: f(x) and y, Area and A, but not x and y."""
    return left == right or any(re.search(r"\([a-z](?:,[a-z])*\)$|^\([A-Za-z].*\)$|[A-Za-z]{4}", re.sub(
        r"\\(?!text)[A-Za-z]+", "", name)) for name in (left, right))


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


def _same_groups(left: Form, right: Form, leaf: Decide) -> bool | None:
    if not isinstance(left, Group) or not isinstance(right, Group):
        group, other = (left, right) if isinstance(left, Group) else (right, left)
        assert isinstance(group, Group)
        if group.kind == "base" or (group.kind == "set" and len(group.items) == 1):
            return _same(group.items[0], other, leaf)
        if group.kind == "list":  # one value in several spellings; "1, 1" is two values
            spellings = {item.text for item in group.items}
            return len(spellings) == len(group.items) <= _MOST_LEFT and all(
                _same(item, other, leaf) for item in group.items)
        if group.kind == ":" and len(group.items) == 2 and ("/" in other.text or "\\frac" in other.text):
            top, bottom = group.items
            return _same(leaf_of(f"({top.text})/({bottom.text})"), other, leaf)
        return False
    if left.kind[0] == right.kind[0] == ":":
        same = same_ratio(left, right)
        if same is not None:
            return same
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
        left = [ours[key] for key in ours if key not in theirs]
        right = [theirs[key] for key in theirs if key not in ours]
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
        one, other = _radians(left.text), _radians(right.text)
        return leaf(one, other) if _is_algebra(one) and _is_algebra(other) else False
    left, right = _as_angle(left, right), _as_angle(right, left)
    if not left.unit.agrees(right.unit):
        return False
    shared = left.unit.dimensions == right.unit.dimensions
    turned = shared and left.unit.pi != right.unit.pi  # degrees and radians
    for a in _scales(left, right, shared):
        for b in _scales(right, left, shared):
            if _times(left.value, a, left.unit.pi if turned else 0) \
                    == _times(right.value, b, right.unit.pi if turned else 0) \
                    or (not turned and _rounds(left, a, right, b)):
                return True
    if _lowered(left.value) == _lowered(right.value) and not (left.unit.dimensions or right.unit.dimensions):
        return leaf(left.text, right.text)  # 2k and 2K: some see the same variable
    return False


def _as_angle(leaf: Leaf, other: Leaf) -> Leaf:
    """A multiple of pi beside degrees in radians: 2 pi / 3 beside 120 degrees."""
    degrees = other.unit.dimensions == _RADIAN.dimensions and not other.unit.pi
    if leaf.unit.dimensions or not degrees or not (leaf.value.terms and other.value.rational is not None):
        return leaf
    return replace(leaf, unit=_RADIAN) if all(names == (("pi", 1),) for (_, names), _ in leaf.value.terms) else leaf


def _lowered(value: Expression) -> Counter[str]:
    return Counter(repr(term).lower() for term in value.terms or ())


def _scales(form: Leaf, other: Leaf, shared: bool) -> list[Fraction]:
    """By what the number as written may have to be multiplied."""
    if form.unit.is_percent and not other.unit.dimensions:
        return [form.unit.scale / 100, form.unit.scale]
    return [form.unit.scale * form.unit.factor if shared else form.unit.scale]


def _times(value: Expression, scale: Fraction, pi: int = 0) -> frozenset[tuple[object, Fraction]] | None:
    """The terms of value * scale * pi**pi."""
    if value.terms is None or not pi:
        return None if value.terms is None else frozenset((name, factor * scale) for name, factor in value.terms)
    turned = times(dict(value.terms), {(1, (("pi", pi),)): scale})
    return frozenset(turned.items())


def _rounds(left: Leaf, a: Fraction, right: Leaf, b: Fraction) -> bool:
    """Whether one is a decimal of enough digits, and the other an exact value that rounds to it."""
    if bool(left.value.digits) == bool(right.value.digits):
        return False
    (decimal, scale), (exact, other) = ((left, a), (right, b)) if left.value.digits else ((right, b), (left, a))
    return rounds_to(decimal.value, scale, exact.value, other, ROUNDED)


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
    text = _NOTHING.sub("no solution", re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip())
    return " ".join(re.sub(r"[.,!'\"]", "", text).lower().split()) if re.search(r"[^\W\d_]{2}", text) else ""


def _radians(text: str) -> str:
    """Angles of trigonometric functions in degrees as an algebra system takes them."""
    return _DEGREES.sub(r"(\1\\cdot\\frac{\\pi}{180})", text) if _TRIGONOMETRIC.search(text) else text


def _is_algebra(form: str) -> bool:
    """Whether a text is one expression that an algebra system may be asked about: no words, no lists, no relations."""
    text = re.sub(r"\\[A-Za-z]+", "!", form)
    if "\\text" in form or len(form) > 1000 \
            or re.search(r"[^\x00-\x7f]|[=<>,;:?\"#&$~]|(?<![_\d])\d+ \d", text) \
            or re.search(r"\\(?:[lc]?dots|pm|mp|cup|cap|begin|to)(?![A-Za-z])", form):
        return False
    return all(is_product(word) or word in _NAMED for word in _WORD.findall(text))


def _key(form: Form) -> str:
    """A text that is the same only for forms that are equal."""
    return _text_of(form, True)


def _text_of(form: Form, units: bool) -> str:
    if isinstance(form, Relation):
        return _text_of(form.right, units) if form.name and form.sign == "=" and not units else form.text
    form = spread(form)
    if isinstance(form, Group):
        parts = [_text_of(item, units) for item in _reduced(form).items]
        if form.kind == "base" and not units:
            return parts[0]
        return f"{'list' if form.kind == 'set' else form.kind}[{', '.join(parts if form.ordered else sorted(parts))}]"
    assert isinstance(form, Leaf)
    if form.value.terms is None:
        return _words(form.text) or form.text
    scale = form.unit.scale * (form.unit.factor if units else Fraction(1, 100 if form.unit.is_percent else 1))
    terms = sorted((repr(name), str(factor * scale)) for name, factor in form.value.terms)
    number = terms[0][1] if [name for name, _ in terms] == ["(1, ())"] else "0" if not terms else repr(terms)
    return f"{number} {form.unit.dimensions} {form.unit.modulus} {form.unit.pi}" if units else number


def _reduced(group: Group) -> Group:
    """A ratio over its first part, so that 6:8 and 3:4 have one text; other groups as they are."""
    values = [item.value.rational for item in group.items if isinstance(item, Leaf)]
    if group.kind != ":" or is_clock(group.text) or len(values) < len(group.items) or None in values or not values[0]:
        return group
    return Group(group.text, ":", tuple(leaf_of(str(value / values[0])) for value in values if value is not None))


def vote(answer: str) -> str:
    """One text for all spellings of an answer, for counting votes: 0.5, 1/2 and \\frac12, lists in any order, words in
    any case; a choice votes by its letter. Units are set aside; a percentage is its hundredth."""
    forms = read(answer)
    if not forms:
        return tidy(answer)[:LONGEST]
    letter = re.fullmatch(r"\(?([A-Ja-j])\)?", forms[0].text)
    return letter[1].upper() if letter else label(answer) or _text_of(forms[0], False)
