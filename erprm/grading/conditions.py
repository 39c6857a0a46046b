r"""Sets of real numbers as they are written: conditions on a variable, intervals, unions and differences.

    read_set(r"\mathbb{R} \setminus \{0\}", read)       # the union of (-\infty, 0) and (0, \infty)
    read_set(r"x > 0 \text{ and } x \ne 1", read)       # the union of (0, 1) and (1, \infty)
    interval("|x| < 3", ["|x|", "3"], ["<"], read)      # (-3, 3)

`read` reads what stands inside, one level deeper; `erprm.grading.reals` gives each set its one form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

from erprm.grading import reals
from erprm.grading.brackets import closes_last
from erprm.grading.expressions import read_expression
from erprm.grading.forms import Form, Group
from erprm.grading.normalise import squeezed
from erprm.grading.quantities import leaf_of
from erprm.grading.terms import ONE

Read = Callable[[str], Form]

RELATION = re.compile(r"\\(?:le|ge|ne|in|approx|equiv|cong|sim)(?![A-Za-z])|[<>]=?|!=|=+")
MIRRORED = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
_REALS = re.compile(r"\\mathbb\s*\{?R\}?|\\R(?![A-Za-z])|(?:[a-z] (?:is|can be) )?(?:(?:all|any|every) (?:the )?real"
                    r"(?:s| numbers?| values?)?|(?:the )?real numbers)(?: (?:of )?[a-z])?", re.IGNORECASE)
_WITHOUT = re.compile(r"\s*(?:\\setminus(?![A-Za-z])|,?(?:\s|\\text\{)+(?:except(?: for)?|excluding|other than|besides)"
                      r"(?:\s|\})+|-(?=\s*\\?\{)|(?<=\\mathbb\{R\})\s*(?=\\?\{))\s*")
_TOGETHER = re.compile(r"\s+and\s+|\s*,\s*(?:and\s+)?|\s*\\(?:wedge|cap)(?![A-Za-z])\s*|\s+(?:such that|where|with)\s+")
_THOSE = re.compile(r"\\?\{ ?[A-Za-z] ?(?:\\in\s?(?P<of>[^|:]*[^|: ]) ?)?[|:](?P<condition>.*?)\\?\}", re.DOTALL)


def read_set(text: str, read: Read) -> Form | None:
    """The set of real numbers that a text says is one; None where it says no such thing."""
    return _those(text, read) or _difference(text, read) or _union(text, read)


def all_reals(text: str, read: Read) -> Form | None:
    """All real numbers as the interval that they are."""
    return read("(-\\infty,\\infty)") if _REALS.fullmatch(text) else None


def _those(text: str, read: Read) -> Form | None:
    """{x | x > 3}: the real numbers that satisfy a condition; those of another set are a group of their own kind."""
    match = _THOSE.fullmatch(text)
    if match is None or not closes_last(text, text.index("{")):
        return None
    found = read(match["condition"])
    return found if match["of"] is None or _REALS.fullmatch(match["of"]) else \
        Group(squeezed(text), f"those {match['of']}", (found,))


def _difference(text: str, read: Read) -> Form | None:
    r"""\mathbb{R} \setminus \{0\}, all real numbers except 0."""
    first, *others = _WITHOUT.split(text)
    if not others or not (_REALS.search(first) or re.search(r"[)\]}]\s*$", first)):
        return None
    return reals.without(squeezed(text), read(first), [read(other) for other in others])


def _union(text: str, read: Read) -> Form | None:
    parts = re.split(r"\\cup(?![A-Za-z])|(?<=[)\]}]) ?U ?(?=[(\[{\\])", text)
    exact = len(parts) > 1
    if not exact and RELATION.search(text):
        parts = re.split(r"\s+or\s+|\\vee(?![A-Za-z])", text)
        compared = [bool(re.search(r"[<>]|\\[lg]e(?![A-Za-z])", part)) for part in parts]
        if not any(compared) or not all(RELATION.search(part) for part in parts):
            return None
        exact = all(compared)
    if len(parts) == 1:
        return None
    head = re.match(r"\s*[A-Za-z]\s*\\in(?![A-Za-z])", parts[0])
    parts[0] = parts[0][head.end():] if head else parts[0]
    union = Group(squeezed(text), "union", tuple(read(part) for part in parts))
    found = reals.normal(union)
    return found if exact or found is not union else None


def conditions(text: str, read: Read) -> Form | None:
    r"""x > 0 and x \ne 1: what holds for one variable, together; sets with \cap between them."""
    sets = "\\cap" in text
    if not sets and not (RELATION.search(text) and re.search(r"\\ne|!=|\band\b|\\wedge", text)):
        return None
    parts = _TOGETHER.split(text) if not sets else re.split(r"\\cap(?![A-Za-z])", text)
    if len(parts) < 2 or not all(sets or (RELATION.search(part) and "(" not in part) or _REALS.fullmatch(part)
                                 for part in parts):
        return None
    names = re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", _REALS.sub("", text).replace("\\text", ""))
    if not sets and len(set(names)) != 1:
        return None
    found = reals.common(squeezed(text), [read(part) for part in parts])
    return None if found is None or reals.is_empty(found) else found


def interval(text: str, sides: Sequence[str], signs: Sequence[str], read: Read) -> Form | None:
    """-1 \\le x < 2, x > 3, 3 < x."""
    up, down = {"<": "(", "\\le": "["}, {">": "(", "\\ge": "["}
    if len(sides) == 2 and re.fullmatch(r"[A-Za-z]", sides[0]) and re.fullmatch(r"[A-Za-z]", sides[1]):
        return None  # a < b
    if len(sides) == 3 and sides[1][0] == sides[1][-1] == "|":  # 0 < |x| < 3
        both = [interval(text, sides[place:place + 2], signs[place:place + 1], read) for place in (0, 1)]
        return reals.common(squeezed(text), [form for form in both if form]) if all(both) else None
    if len(sides) == 2 and signs[0] in (*MIRRORED, "="):
        away = _distance(text, sides[0], signs[0], sides[1], read) \
            or _distance(text, sides[1], MIRRORED.get(signs[0], "="), sides[0], read)
        if away is not None:
            return away
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
    return Group(squeezed(text), kind, (read(ends[0][1]), read(ends[1][1])))


def _distance(text: str, inside: str, sign: str, distance: str, read: Read) -> Form | None:
    """|x| < 3, |2x - 1| \\ge 3, |x| = 3: what is linear in one variable between the bars."""
    line = _line(inside[1:-1]) if len(inside) > 2 and inside[0] == inside[-1] == "|" else None
    if line is None:
        return None
    name, factor, shift = line
    low, high = (f"({way}({distance}))/({abs(factor)})+({-shift / factor})" for way in ("-", "+"))
    if sign == "=":
        return Group(squeezed(text), "list", (leaf_of(low), leaf_of(high)))
    if sign in ("<", "\\le"):
        form = interval(text, [low, name, high], [sign] * 2, read)
    else:
        below = interval(text, [name, low], [MIRRORED[sign]], read)
        above = interval(text, [name, high], [sign], read)
        form = Group(squeezed(text), "union", (below, above)) if below and above else None
    return None if form is None else reals.normal(form)


def _line(text: str) -> tuple[str, Fraction, Fraction] | None:
    """(name, factor, shift) of an expression in one variable: 2x - 1."""
    value = read_expression(text)
    terms = dict(value.terms or ())
    shift = terms.pop(ONE, Fraction(0))
    if value.rest or len(terms) != 1:
        return None
    [((root, names), factor)] = terms.items()
    single = root == 1 and len(names) == 1 and names[0][1] == 1 and re.fullmatch("[A-Za-z]", names[0][0])
    return (names[0][0], factor, shift) if single else None
