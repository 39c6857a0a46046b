r"""One value as it is written: a number with its unit or currency, a ratio, a time of day, digits of a base.

    leaf_of("$1.5 million")     # a leaf of 1,500,000 USD
    compound("5 ft 6 in")       # a leaf of 5.5 feet
    ratio("2:3")                # a group of 2 and 3
    ratio("3:30 pm")            # a group of 3 and 30 of its own kind
    in_base("1010_2")           # a group of the digits and the base
"""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

from erprm.grading.expressions import Expression, exactly, read_expression
from erprm.grading.forms import Form, Group, Leaf
from erprm.grading.normalise import notation, squeezed
from erprm.grading.tidy import tidy
from erprm.grading.units import Unit, read_unit

_LONGEST_IN_BASE = 300

_CURRENCY = re.compile(r"(?P<sign>[+-]?)\s*(?P<unit>US\s?\$|[$€£¥₹]|USD|EUR|GBP|INR|Rs\.?)\s*"
                       r"(?P<number>[+-]?[\d.][\d.,]*)(?P<rest>.*)", re.DOTALL)
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion",
           "tn": "trillion"}
_SCALED_MONEY = re.compile(r"(?:(?:\s?\\text\{)?(?P<letter>[kKmMbBtT])|\s?(?:\\text\{)?(?P<word>[mbt]n))"
                           r"(?![A-Za-z])\}?")
_SHORT = re.compile(r"(?P<number>[$€£]?\s?[+-]?\d[\d,]*(?:\.\d+)?)(?:(?:\s?\\text\{)?(?P<letter>[kKMB])"
                    r"|\s?(?:\\text\{)?(?P<word>[mb]n))\}?(?P<rest>\s?[$€£]|\s(?:\\text\{)?[^\W\d_]{2,}.*)?", re.DOTALL)
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "eleven": 11, "twelve": 12, "sixteen": 16}
_BASE = re.compile(r"\(?(?:\\(?:text|overline)\{)?"
                   r"(?P<digits>[0-9A-Fa-f.]*\d[0-9A-Fa-f.]*|[A-Fa-f]+(?=\}?\)?\s*_\s*\{?16))\}?\)?"
                   r"(?:\s*_\s*[{(\s]*(?:\\text\{)?\s*(?:(?:base|\\text\{base\})\s*)?"
                   r"|\s*\(?(?:in )?(?:base|\\text\{base\})[ -]?\{?)"
                   r"(?P<base>\d+|[a-z]+)[\s})]*"
                   r"|0(?P<prefix>[box])(?P<prefixed>[0-9A-Fa-f]+)")
_RATIO = re.compile(r"[^:]+(?::[^:]+){1,2}|\d+(?:\.\d+)?(?: to \d+(?:\.\d+)?){1,2}")
_CLOCK = re.compile(r"(\d{1,2})((?::\d\d){1,2}|(?=\s*[ap]\.?\s?m))\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)
_NUMBER = r"\d[\d,]*+(?:\.\d++)?(?: \d+/\d+| ?\\frac\{\d+\}\{\d+\})?"
_QUANTITY = rf"(?:\$ ?{_NUMBER}|{_NUMBER} ?(?:\\text\{{[^{{}}]*\}}|[^\W\d_]+\.?|''|['\"]))"
_COMPOUND = re.compile(rf"{_QUANTITY}(?:(?: ?, ?and | and | ?, ?| ?){_QUANTITY}){{1,3}}")
_PRIMES = {"'": ("ft", "arcmin"), "''": ("in", "arcsec"), '"': ("in", "arcsec")}
_LONGEST_COMPOUND = 200
_SIGNS = re.compile(r"\\[pm][mp](?![A-Za-z])")


def leaf_of(text: str) -> Leaf:
    """A number with its unit or currency, an infinity, or words."""
    if _SIGNS.search(text):
        return Leaf(squeezed(text), Expression(None), Unit())
    text = text.strip()
    money = _CURRENCY.fullmatch(text)
    if money:
        rest = money["rest"]
        scaled = _SCALED_MONEY.match(rest)
        if scaled:  # $1.2M
            rest = f"{_SCALES[(scaled['letter'] or scaled['word']).lower()]} {rest[scaled.end():]}"
        rest = rest.strip()
        symbol = money["unit"][-1:] if "$" in money["unit"] else money["unit"]
        text = f"{money['sign']}{money['number']}{rest} {symbol}" \
            if rest[:1] in ("/", "^", "\\") and rest[1:2].isdecimal() else \
            f"{money['sign']}{money['number']} {money['unit'].replace('US', '').strip('D .') or 'USD'} {rest}"
    infinite = re.fullmatch(r"([+-]?)\s*(?:\\infty|inf(?:inity)?)", text)
    if infinite:
        sign = Fraction(-1 if infinite[1] == "-" else 1)
        return Leaf(f"{infinite[1]}\\infty", Expression(frozenset([((1, (("∞", 1),)), sign)])), Unit())
    value = read_expression(text)
    unit = read_unit(value.rest) if value.terms is not None else None
    if unit is None:
        return Leaf(squeezed(text), Expression(None, rest=value.rest), Unit())
    return Leaf(squeezed(text), value, unit)


def in_full(answer: str) -> str | None:
    """A number whose magnitude is abbreviated, with the word: "3k" is "3 thousand", "1.2 bn" "1.2 billion". None for
    anything else. What has a letter may mean a variable, so this reading is for where a number is expected."""
    match = _SHORT.fullmatch(notation(tidy(answer[:_LONGEST_COMPOUND])))
    if match is None:
        return None
    return f"{match['number']} {_SCALES[(match['letter'] or match['word']).lower()]} {match['rest'] or ''}"


def compound(text: str) -> Leaf | None:
    """One quantity in several units, each smaller than the one before: 2 hours and 30 minutes, 5 ft 6 in, 30 degrees
    15'. None for anything else: 3 apples and 5 oranges."""
    if len(text) > _LONGEST_COMPOUND or not _COMPOUND.fullmatch(text):
        return None
    parts: list[Leaf] = []
    for part in re.findall(_QUANTITY, text):
        prime = re.search(r"['\"]+$", part)
        angle = bool(parts) and parts[0].unit.dimensions == (("angle", 1),)
        hours = bool(parts) and parts[0].unit.dimensions == (("time", 1),)
        if prime:
            part = f"{part[:prime.start()]} {_PRIMES[prime[0]][angle]}"
        elif hours and re.search(r"\d ?(?:m|\\text\{m\})$", part):
            part = re.sub(r"(?:m|\\text\{m\})$", " min", part)  # 2h 30m
        parts.append(leaf_of(re.sub(r"(?<=\d)(?=[^\W\d_])", " ", part)))
    first = parts[0].unit
    sizes = [part.unit.factor for part in parts]
    numbers = [part.value.rational for part in parts]
    if not first.known or any(part.unit.dimensions != first.dimensions or part.unit.pi for part in parts) \
            or any(later >= earlier for earlier, later in itertools.pairwise(sizes)):
        return None
    total = sum((number * size for number, size in zip(numbers, sizes, strict=True) if number), Fraction(0))
    return Leaf(squeezed(text), exactly(total / sizes[0]), first)


def ratio(text: str) -> Form | None:
    """Ratios and times of day."""
    clock = _CLOCK.fullmatch(text.replace(r"\text{", "").replace("}", "").strip())
    if clock:
        half = f"{clock[3]}m".lower() if clock[3] else ""
        parts = (clock[1], *(clock[2] or ":00")[1:].split(":"))
        return Group(squeezed(text), f":{half}", tuple(leaf_of(part) for part in parts))
    plain = re.sub(r"\\text\{ ?to ?\}", "to", text)
    if (":" in text or " to " in plain) and _RATIO.fullmatch(plain):
        return Group(squeezed(text), ":", tuple(leaf_of(part.strip()) for part in re.split(":| to ", plain)))
    return None


def is_clock(text: str) -> bool:
    """Whether it may be a time of day."""
    return _CLOCK.fullmatch(text) is not None


def same_ratio(left: Group, right: Group) -> bool | None:
    """Whether two groups of `ratio` are one time of day, or one ratio; None where a part is no rational number. A time
    without its half of the day may be of either, or of 24 hours."""
    ours, theirs = ([item.value.rational if isinstance(item, Leaf) else None for item in group.items]
                    for group in (left, right))
    if None in ours or None in theirs:
        return None
    one, two = ([part for part in parts if part is not None] for parts in (ours, theirs))
    if left.kind != right.kind and ":" not in (left.kind, right.kind):
        return False
    if left.kind != right.kind:
        (kind, half), plain = ((left.kind, one), two) if right.kind == ":" else ((right.kind, two), one)
        return plain in (half, [half[0] % 12 + (12 if kind == ":pm" else 0), *half[1:]])
    if left.kind != ":" or (is_clock(left.text) and is_clock(right.text)):
        return one == two
    return len(one) == len(two) and all(a * two[0] == b * one[0] for a, b in zip(one, two, strict=True)) \
        and [part == 0 for part in one] == [part == 0 for part in two]


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
