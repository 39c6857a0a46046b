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

from erprm.grading import reals
from erprm.grading.brackets import balanced, closes_last, outside, split_top
from erprm.grading.conditions import MIRRORED, RELATION, all_reals, conditions, interval, read_set
from erprm.grading.forms import Form, Group, Relation
from erprm.grading.normalise import notation, squeezed
from erprm.grading.quantities import compound, in_base, leaf_of, ratio
from erprm.grading.tidy import LONGEST, tidy

_DEEPEST = 12  # brackets

_INLINE = re.compile(r"(?<!\\)\$(?=[^\s$])([^$]*[^\s$\\])\$(?!\d)|\\\((.*?)\\\)", re.DOTALL)
_REMARK = re.compile(r"(?<=\S)\s+\((?!\s*(?:mod|base|in base)\b|[^()]*\binf)(?=[^()]*[A-Za-z]{3}|(?:as|so)\b|=)"
                     r"[^()\\]*\)$")
_LABEL = re.compile(r"\{?\(([A-J])\)\}?\s*[.:]?\s*(?=\S)|([A-J])\)\s*(?=\S)")
_MATRIX = re.compile(r"(?P<factor>[^&=]{0,100}?)[\[(]?\s*\\begin\{([a-zA-Z]*matrix\*?|array)\}(?:\{[lcr|]*\})?"
                     r"((?:(?!\\begin|\\end).)*)\\end\{\2\}\s*[\])]?", re.DOTALL)
_VARIABLE = r"[A-Za-z](?:_\{?\w+\}?)?"
_NAME = re.compile(r"(?:[A-Za-z]|\\(?:vec|hat|bar|overline|overrightarrow)\s?\{\w+\}|\\[a-zA-Z]+)"
                   r"(?:_\{?\w+\}?|'+|\^\{-1\})*(?:\((?:[a-zA-Z](?:,\s?[a-zA-Z])*|-?\d+)\))?"
                   r"|[PEfgh](?:\([^()=<>]{1,30}\)|\[[^][]{1,30}\])|\|?[A-Z]{2,4}\|?|m?\\(?:angle|triangle)\{?[A-Z]{1,3}\}?"
                   rf"|\\(?:sin|cos|tan)(?:\\[a-z]+|[A-Za-z])|\({_VARIABLE}(?:,{_VARIABLE})+\)")
_TITLE = re.compile(r"(?=.*[A-Za-z]{4})(?!.*\b(?i:not|never|false)\b)[A-Za-z]+(?: [A-Za-z]+){0,7}")
_LINES = re.compile(r"[^\n=]{1,60}=[^\n=]{1,200}(?:\s*\n\s*[^\n=]{1,60}=[^\n=]{1,200})+")
_SYSTEM = re.compile(r"(?:\\?\{)?\s*\\begin\{(cases|aligned|align\*?|gathered|split|array)\}(?:\{[lcr|]*\})?"
                     r"(.*?)\\end\{\1\}", re.DOTALL)
_SAYS = re.compile(r"(?![^\d\\]*\b(?i:not|never|false|cannot|either)\b)"
                   r"[A-Za-z][A-Za-z ,'-]{0,60}? (?:is|are|equals|was):? (?=[-\d(\[{$.]|\\(?!text))")
_SPELLED = {"<=": "\\le", ">=": "\\ge", "!=": "\\ne", "==": "=", "\\approx": "="}
_AND = re.compile(r"\s+(?:and|or|&|和|或)\s+|(?<=[\d)}])\s*(?:和|或)\s*(?=[\d({\\-])")
_AND_OF_MATRICES = re.compile(r"\s+(?:and|or)\s+")
_WORD = re.compile(r"[A-Za-z]{2,}")
_MIXED = re.compile(r"(-?\d+) and (\d+/\d+|\\frac\{\d+\}\{\d+\})( .*)?")


@functools.lru_cache(maxsize=1 << 12)
def read(answer: str) -> tuple[Form, ...]:
    """The forms that `answer` may be meant as, the likeliest first; none for an empty or a very long answer."""
    text = tidy(answer) if len(answer) <= LONGEST else ""
    if not text:
        return ()
    if "\n" in text and _LINES.fullmatch(text):
        text = ", ".join(line.strip(" ,;.") for line in text.splitlines() if line.strip())
    text = _INLINE.sub(lambda match: match[1] or match[2] or "", text)
    text = re.sub(r"\(\s*\\?mod\s*(\w+)\s*\)", r"\\pmod \1", _REMARK.sub("", notation(_REMARK.sub("", text))))
    text = re.sub(r"^(?:\\(?:approx|sim)(?![A-Za-z])|=)\s*", "", text)
    text = _SAYS.sub("", text, count=1) if _SAYS.match(text) else text
    system = _SYSTEM.fullmatch(text)
    if system and all("=" in row for row in system[2].split("\\\\") if row.strip()):
        text = ", ".join(row.replace("&", "").strip(" ,.") for row in system[2].split("\\\\") if row.strip())
    while text.startswith("{") and text.endswith("}") and closes_last(text, 0):
        text = text[1:-1].strip()
    forms = [_read(text, 0)]
    if re.search(r"\d,\d{3}(?!\d)", text) and "," in text:  # 100,200 may be a number and a list
        for separators in (", ", ","):
            parts = text.split(", ") if separators == ", " else split_top(text, ",")
            if len(parts) > 1 and not any(char in text for char in "([{="):
                forms.append(Group(squeezed(text), "list", tuple(_read(part.strip(), 1) for part in parts)))
    comma = re.fullmatch(r"\$?(-?\d+)\{,\}(\d+)\$?", answer.strip())
    if comma:  # 3{,}5 may also be a list whose comma was taken for a decimal one
        forms.append(_read(f"{comma[1]}, {comma[2]}", 0))
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
    inner = functools.partial(_read, depth=depth + 1)
    return (_matrix(text, depth) or read_set(text, inner) or _named(text, depth) or conditions(text, inner)
            or compound(text) or _list(text, depth) or _related(text, depth) or _bracketed(text, depth)
            or all_reals(text, inner) or ratio(text) or in_base(text) or leaf_of(text))


def _named(text: str, depth: int) -> Form | None:
    """`n = 2,3,4`, `x \\in [1,2]` and `x \\ne 0, 1`: one name for all that follows."""
    signs = list(RELATION.finditer(text))
    if len(signs) != 1 or _SPELLED.get(signs[0][0], signs[0][0]) not in ("=", "\\in", "\\ne") \
            or not outside(text, signs[0].start()):
        return None
    left = text[:signs[0].start()].strip()
    if not _is_name(left):
        return None
    if signs[0][0] in ("\\ne", "!="):
        single = re.fullmatch(r"[A-Za-z]", left) is not None
        return reals.outside(squeezed(text), _read(text[signs[0].end():], depth + 1)) if single else None
    right = _read(text[signs[0].end():], depth + 1)
    if signs[0][0] == "\\in":
        return right
    return Relation(squeezed(text), "=", leaf_of(left), right, left.replace(" ", ""))


def _is_name(text: str) -> bool:
    """Whether what stands before "=" only names what follows: x, f(x), P(A), (x, y), AB, \\angle ABC, Total area."""
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text).strip()
    return len(text) <= 80 and bool(_NAME.fullmatch(text.replace(" ", "")) or _TITLE.fullmatch(" ".join(text.split())))


def _list(text: str, depth: int) -> Form | None:
    if not re.search(r"[,;&]| and | or |和|或", text):
        return None
    parts = split_top(text, ",;") if not re.fullmatch(r"[^\d,(\[{]*\d{1,3}(,\d{3})+(\.\d+)?[^\d,]*", text) else [text]
    items: list[str] = []
    for part in parts:
        part = re.sub(r"^\s*(?:and|or|&)\s+", "", part)
        pieces = (_AND_OF_MATRICES if "\\begin" in part else _AND).split(part)
        wordy = any(_WORD.sub("", piece).strip() == "" and len(piece.strip()) > 1 for piece in pieces)
        items += [part] if wordy and len(parts) == 1 else pieces if not wordy else [part]
    items = [item.strip() for item in items]
    if len(items) < 2 or not all(items):
        return None
    if re.fullmatch(r"(?s)\D*", text) and len(parts) > 1 and any(len(item.split()) > 3 for item in items):
        return None  # a sentence with commas
    if not all(re.search(r"[=<>:(\\]", item) or balanced(item) for item in items):
        return None
    read_items = [_read(item, depth + 1) for item in items]
    flat = [inner for item in read_items
            for inner in (item.items if isinstance(item, Group) and item.kind == "list" else (item,))]
    return Group(squeezed(text), "list", tuple(flat))


def _related(text: str, depth: int) -> Form | None:
    signs = [match for match in RELATION.finditer(text) if outside(text, match.start())]
    if not signs:
        return None
    sides = [text[a:b].strip() for a, b in zip([0, *(sign.end() for sign in signs)],
                                               [*(sign.start() for sign in signs), len(text)], strict=True)]
    names = [_SPELLED.get(sign[0], sign[0]) for sign in signs]
    if not all(sides):
        return None
    between = interval(text, sides, names, functools.partial(_read, depth=depth + 1))
    if between is not None:
        return between
    if len(names) > 1 and set(names) == {"="}:  # x = 2 + 3 = 5
        left, right = sides[0], sides[-1]
    elif len(names) == 1:
        left, right = sides
    else:
        return None
    if names[0] in (">", "\\ge"):
        left, right, names = right, left, [MIRRORED[names[0]]]
    name = squeezed(left) if _is_name(left) else ""
    if not name and names[0] == "=":
        if _is_name(right):
            left, right, name = right, left, squeezed(right)
        elif not re.search(r"[A-Za-z]", left) or leaf_of(left).value.value() is not None:
            return _read(right, depth + 1)  # 3*4 = 12
    return Relation(squeezed(text), names[0], leaf_of(left), _read(right, depth + 1), name)


def _matrix(text: str, depth: int) -> Form | None:
    match = _MATRIX.fullmatch(text) if "\\begin" in text else None
    if match is None:
        return None
    if match[2] in ("vmatrix", "Vmatrix"):
        number = leaf_of(text)
        if number.value.terms is not None:
            return number
    factor = match["factor"].removesuffix("\\cdot").removesuffix("\\times").strip()
    factor += "1" if factor in ("", "+", "-") else ""
    if leaf_of(factor).value.terms is None:
        return None
    rows = [row.split("&") for row in re.split(r"\\\\", match[3]) if row.strip()]
    cells = tuple(_read(cell if factor == "1" else f"({factor})*({cell})", depth + 1) for row in rows for cell in row)
    kind = "determinant" if match[2] in ("vmatrix", "Vmatrix") else "matrix"
    return Group(squeezed(text), f"{kind} {[len(row) for row in rows]}", cells)


def _bracketed(text: str, depth: int) -> Form | None:
    opening = next((mark for mark in ("\\{", "(", "[", "{") if text.startswith(mark)), None)
    closing = next((mark for mark in ("\\}", ")", "]", "}") if text.endswith(mark)), None)
    if opening is None or closing is None or len(text) < len(opening) + len(closing):
        return None
    inner = text[len(opening):-len(closing)]
    if len(split_top(inner + ",", ",")) < 2 or not closes_last(text, len(opening) - 1):
        return None
    if opening in ("\\{", "{") and closing in ("\\}", "}"):
        elements = [_read(part, depth + 1) for part in split_top(inner, ",;") if part.strip()]
        flat = [one for item in elements
                for one in (item.items if isinstance(item, Group) and item.kind == "list" else (item,))]
        return Group(squeezed(text), "set", tuple(flat))
    kind = opening + closing
    parts = split_top(inner, ",")
    if len(parts) == 1:
        return _read(inner, depth + 1) if kind == "()" else None
    items = [_read(part, depth + 1) for part in parts]
    if kind == "[]" and all(isinstance(item, Group) and item.kind == "[]" for item in items):  # [[1,2],[3,4]]
        rows = [item.items for item in items if isinstance(item, Group)]
        cells = tuple(cell for row in rows for cell in row)
        return Group(squeezed(text), f"matrix {[len(row) for row in rows]}", cells)
    return Group(squeezed(text), kind, tuple(items))


def label(answer: str) -> str | None:
    """The letter before a choice's value, as in "(B) 12"; None where there is none."""
    match = _LABEL.match(notation(tidy(answer[:LONGEST])))
    return (match[1] or match[2]) if match else None


def choice_letter(answer: str) -> str | None:
    """The letter of a multiple-choice answer: "B", "(B)", "B) Paris", "option b"; None where there is none."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", notation(tidy(answer[:LONGEST]))).strip("*_{} ")
    text = re.sub(r"^(?:option|choice|answer)\s+", "", text, flags=re.IGNORECASE)
    match = (re.match(r"[(\[]?\s*([A-Z])\s*(?:[)\].:,]|-\s|$)", text)
             or re.fullmatch(r"[(\[]?\s*([a-z])\s*[)\]]?[.:]?", text))
    return match[1].upper() if match else None
