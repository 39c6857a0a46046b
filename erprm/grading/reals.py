r"""Sets of real numbers in one form each: intervals and points that are disjoint and rise.

    normal(union of [0, 1) and [1, 2])      # [0, 2)
    outside(text, the set {0})              # the union of (-\infty, 0) and (0, \infty)

A set is made of the cuts where it begins and ends, each before or after a number; union, complement and intersection
are one sort each. Numbers are ordered by their first 60 digits and kept exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from erprm.grading.forms import Form, Group, Leaf, Relation
from erprm.grading.quantities import leaf_of, spread

_INTERVALS = frozenset(("()", "[)", "(]", "[]"))


@dataclass(frozen=True, slots=True, order=True)
class _Cut:
    """A place on the line, right before or right after a number."""

    value: Decimal
    after: bool
    number: Leaf = field(compare=False)


_Spans = list[tuple[_Cut, _Cut]]
_BEGIN = _Cut(Decimal("-Infinity"), True, leaf_of("-\\infty"))
_END = _Cut(Decimal("Infinity"), False, leaf_of("\\infty"))


def normal(form: Form) -> Form:
    """`form` as its set's one form, where it is a set of real numbers whose ends are known; else as it is."""
    spans = _spans(form)
    return form if spans is None else _form(form.text, _joined(spans))


def outside(text: str, form: Form) -> Form | None:
    """All real numbers besides those that `form`, a set, a list or one value, holds; None where that isn't clear."""
    return without(text, Group(text, "()", (_BEGIN.number, _END.number)), [form])


def without(text: str, whole: Form, taken: Sequence[Form]) -> Form | None:
    """What of a set is in none of `taken`; None where one of them is no set of real numbers."""
    kept, gone = _spans(whole), [_spans(form, values=True) for form in taken]
    if kept is None or None in gone:
        return None
    return _form(text, _complement(_joined([*_complement(_joined(kept)), *(
        span for spans in gone for span in spans or ())])))


def common(text: str, forms: Sequence[Form]) -> Form | None:
    """What is in all of several sets; None where one of them is no set of real numbers."""
    found = [_spans(form) for form in forms]
    if None in found:
        return None
    return _form(text, _complement(_joined([span for spans in found for span in _complement(_joined(spans or []))])))


def is_empty(form: Form) -> bool:
    return form.text == "\\emptyset"


def _spans(form: Form, values: bool = False) -> _Spans | None:
    """The intervals of a set; where `values`, a number is the set of itself, and a list that of its items."""
    form = spread(form)
    if isinstance(form, Relation):
        return _spans(form.right, True) if form.name and form.sign == "=" else None
    if isinstance(form, Leaf):
        if is_empty(form):
            return []
        point = _cut(form, False) if values else None
        return [(point, _Cut(point.value, True, form))] if point is not None and point.value.is_finite() else None
    if form.kind in _INTERVALS and len(form.items) == 2:
        low, high = form.items
        cuts = _cut(low, form.kind[0] == "("), _cut(high, form.kind[1] == "]")
        return None if cuts[0] is None or cuts[1] is None else [(cuts[0], cuts[1])]
    if form.kind == "set" or form.kind == "union" or (values and form.kind == "list"):
        parts = [_spans(item, values or form.kind == "set") for item in form.items]
        return None if None in parts else [span for spans in parts for span in spans or ()]
    return None


def _cut(form: Form, after: bool) -> _Cut | None:
    if not isinstance(form, Leaf) or form.unit.dimensions:
        return None
    if form.text in ("\\infty", "+\\infty", "-\\infty"):
        return _BEGIN if form.text[0] == "-" else _END
    value = form.value.value()
    return None if value is None else _Cut(value, after, form)


def _joined(spans: Iterable[tuple[_Cut, _Cut]]) -> _Spans:
    """The spans without overlaps, in order."""
    joined: _Spans = []
    for low, high in sorted(span for span in spans if span[0] < span[1]):
        if joined and low <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], high)
        else:
            joined.append((low, high))
    return joined


def _complement(spans: _Spans) -> _Spans:
    cuts = [_BEGIN, *(cut for span in spans for cut in span), _END]
    return [(low, high) for low, high in zip(cuts[::2], cuts[1::2], strict=True) if low < high]


def _form(text: str, spans: _Spans) -> Form:
    points = [low.number for low, high in spans if low.value == high.value]
    if len(points) == len(spans):
        return Group(text, "set", tuple(points)) if points else leaf_of("\\emptyset")
    items: list[Form] = []
    for low, high in spans:
        ends = low.number.text, high.number.text
        if low.value == high.value:
            items.append(Group(f"\\{{{ends[0]}\\}}", "set", (low.number,)))
        else:
            kind = ("(" if low.after else "[") + ("]" if high.after else ")")
            items.append(Group(f"{kind[0]}{ends[0]},{ends[1]}{kind[1]}", kind, (low.number, high.number)))
    return items[0] if len(items) == 1 else Group(text, "union", tuple(items))
