r"""One value as it is written: a number with its unit or currency, a ratio, a time of day, digits of a base.

    leaf_of("$1.5 million")     # a leaf of 1,500,000 USD
    ratio("2:3")                # a group of 2 and 3
    in_base("1010_2")           # a group of the digits and the base
"""

from __future__ import annotations

import re
from fractions import Fraction

from erprm.grading.expressions import Expression, read_expression
from erprm.grading.forms import Form, Group, Leaf
from erprm.grading.normalise import squeezed
from erprm.grading.units import Unit, read_unit

_LONGEST_IN_BASE = 300

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
_SIGNS = re.compile(r"\\[pm][mp](?![A-Za-z])")


def leaf_of(text: str) -> Leaf:
    """A number with its unit or currency, an infinity, or words."""
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


def ratio(text: str) -> Form | None:
    """Ratios and times of day."""
    clock = _CLOCK.fullmatch(text.replace(r"\text{", "").replace("}", "").strip())
    if clock:
        half = (clock[2] or "").lower()
        hour, _, rest = clock[1].partition(":")
        return Group(squeezed(text), ":", tuple(leaf_of(part) for part in (hour, *rest.split(":"), *half)))
    if ":" in text and _RATIO.fullmatch(text):
        return Group(squeezed(text), ":", tuple(leaf_of(part.strip()) for part in text.split(":")))
    return None


def in_base(text: str) -> Form | None:
    """Digits whose base is written beside them."""
    match = _BASE.fullmatch(text) if len(text) <= _LONGEST_IN_BASE else None
    if not match:
        return None
    named = match["base"] or {"b": "2", "o": "8", "x": "16"}[match["prefix"]]
    base = int(named) if named.isdecimal() and len(named) < 4 else _BASES.get(named, 0)
    digits = (match["digits"] or match["prefixed"]).upper().lstrip("0") or "0"
    if not 2 <= base <= 36 or (any(char.isalpha() for char in digits) and base <= 10):
        return None
    return Group(squeezed(text), "base", (leaf_of(digits), leaf_of(str(base))))


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
