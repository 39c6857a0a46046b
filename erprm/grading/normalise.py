r"""One notation for what people write in several: Unicode and TeX synonyms, spacing, thousands separators.

    notation("−２½ × 10³")                  # "-2 1/2 \times 10^{3}"
    notation(r"\left(\dfrac12,\;3\right)")  # "(\frac{1}{2}, 3)"
    notation("1{,}042")                     # "1042"

Only the spelling changes, never the value, and white space is kept where it matters: "1 2" stays two numbers. Every
rule is one pass over the text.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from erprm.grading.numerals import in_digits

_VULGAR = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
           "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8", "⅑": "1/9", "⅒": "1/10",
           "↉": "0/3"}
_SYMBOLS = {
    **dict.fromkeys("−–‒﹣－‐‑➖", "-"), **dict.fromkeys("＋﹢➕", "+"),
    "×": r"\times ", "✕": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "•": r"\cdot ", "÷": "/",
    "∕": "/", "⁄": "/", "√": r"\sqrt ", "∛": r"\sqrt[3] ", "∜": r"\sqrt[4] ",
    "٫": ".", "٬": ",", "،": ",", "؛": ";", "٪": "%", "।": ".",
    "∞": r"\infty ", "π": r"\pi ", "±": r"\pm ", "∓": r"\mp ",
    "≤": r"\le ", "⩽": r"\le ", "≥": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∪": r"\cup ",
    "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "…": r"\ldots ", "⋯": r"\ldots ", "°": r"^{\circ}",
    "º": r"^{\circ}", "˚": r"^{\circ}", "℃": r"^{\circ}\text{C}", "℉": r"^{\circ}\text{F}",
    "⟨": "(", "⟩": ")", "〈": "(", "〉": ")", "‖": r"\|", "∣": "|",
    "。": ".", "、": ",", "【": "[", "】": "]", "′": "'", "’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "「": '"',
    "」": '"', "∶": ":", "ℯ": "e", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "θ": r"\theta ", "λ": r"\lambda ",
    "μ": r"\mu ", "σ": r"\sigma ", "φ": r"\phi ", "ω": r"\omega ", "Δ": r"\Delta ", "¬": r"\neg ", "∧": r"\wedge ",
    "∨": r"\vee ", "→": r"\to ", "∑": r"\sum ", "∏": r"\prod ", "∖": r"\setminus ",
    **{symbol: rf"\mathbb{{{letter}}}" for symbol, letter in zip("ℝℤℚℕℂ", "RZQNC", strict=True)},
}
_RAISED = {**dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni", strict=True))}
_LOWERED = {**dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))}
_EULER = "718281828459045"  # the decimals of e look as if they repeated
_INVISIBLE = dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad\u2061\u2062\u2063\u2064\u200e\u200f", "")
_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"

_MICRO = re.compile(r"(?<=[\d\s}])[μµ](?=[mgsL](?![A-Za-z]))")
_SCRIPT_FRACTION = re.compile(r"([⁰¹²³⁴-⁹]+)[⁄∕/]([₀-₉]+)")
_OVERLINED = re.compile("((?:\\d[\u0304\u0305])+)")
_SCRIPT = re.compile(rf"([{''.join(map(re.escape, _RAISED))}]+)|([{''.join(map(re.escape, _LOWERED))}]+)")
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal|up|md|sl|sc)?|mbox|hbox|mathrm|operatorname|rm|bf)\s*"
                   r"\{([^{}\\]*)\}")
_MARKED = re.compile(r"\\text\s?\{\s?\\?([$%€£¥₹]|(?:USD|EUR|GBP|INR|Rs\.?)(?=\s?\}[~\s]*(?:\\[,;: ])?\s*\d))\s?\}")
_QUANTITY = re.compile(r"[^\W\d_]+(?:\^-?\d)?(?:\s?[/·]\s?[^\W\d_]+(?:\^-?\d)?)+|[^\W\d_]+\^-?\d")  # m/s^2
_FONT = re.compile(r"\\(?:math(?:bf|it|sf|tt|cal|frak|scr)|boldsymbol|bm|pmb|emph|underline|boxed|fbox|ensuremath)"
                   r"(?![A-Za-z])\s*")
_BOLD_REALS = re.compile(r"\\(?:mathbf|boldsymbol|bm)\s?(?:\{\s?R\s?\}|R(?![A-Za-z]))")
_DROPPED = re.compile(r"\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|scriptstyle|limits|nolimits|mathopen"
                      r"|mathclose|mathrm|rm|bf|it|tiny|small|normalsize|large|Large|LARGE|huge|Huge)(?![A-Za-z])\.?"
                      r"|\\(?:text)?color\s*(?:\[[^\[\]]*\])?\{[^{}]*\}|\\(?:tag|label)\*?\s*\{[^{}]*\}")
_SYNONYM = re.compile(r"\\(dfrac|tfrac|cfrac|leq|geq|leqslant|geqslant|neq|ast|varnothing|dots|cdots|dotsc|dotsb|textpi"
                      r"|lbrace|rbrace|lbrack|rbrack|lparen|rparen|land|lor|textdollar|degree|circ|div|colon|lt|gt|And"
                      r"|setminus|smallsetminus|backslash|langle|rangle|mid|lvert|rvert|vert|pounds|euro|yen|upi|infin|textdegree)(?![A-Za-z])")
_SYNONYMS = {
    "dfrac": r"\frac ", "tfrac": r"\frac ", "cfrac": r"\frac ", "leq": r"\le ", "geq": r"\ge ", "leqslant": r"\le ",
    "geqslant": r"\ge ", "neq": r"\ne ", "ast": r"\cdot ", "varnothing": r"\emptyset ", "dots": r"\ldots ",
    "cdots": r"\ldots ", "dotsc": r"\ldots ", "dotsb": r"\ldots ", "textpi": r"\pi ", "upi": r"\pi ", "langle": "(",
    "rangle": ")", "lbrace": r"\{",
    "rbrace": r"\}", "lbrack": "[", "rbrack": "]", "lparen": "(", "rparen": ")", "land": r"\wedge ", "lor": r"\vee ",
    "textdollar": "$", "degree": r"^{\circ}", "textdegree": r"^{\circ}", "circ": r"\circ ", "div": "/", "colon": ":",
    "lt": "<", "gt": ">", "And": "&", "mid": "|", "lvert": "|", "rvert": "|", "vert": "|", "pounds": "£", "euro": "€",
    "yen": "¥", "infin": r"\infty ", "setminus": r"\setminus ",
    "smallsetminus": r"\setminus ", "backslash": r"\setminus "}
_SPACING = re.compile(r"(\\\\)|\\(?:quad|qquad|thinspace|enspace|enskip|hspace\*?\s?\{[^{}]*\}|phantom\s?\{[^{}]*\})"
                      r"(?![A-Za-z])|\\[,;: \n]|~")
# What stands between groups of three digits, besides a bare comma:
_MARK = r"(?:,\s?\\!|\{,\}|\{\\,\}|\\!|'|\\[,;: ]|~| )"
_THOUSANDS = re.compile(rf"(?<![\d.,'\\^_])(?<!\d )\d{{1,3}}({_MARK})\s?\d{{3}}(?:{_MARK}\s?\d{{3}})*(?![\d']|,\d)")
_DECIMAL_COMMA = re.compile(r"(?<![\d}])(\d+)\{,\}(?=\d+(?![\d{]))")
_FRACTION_DIGITS = re.compile(r"\\frac\s*(?:(\d)\s*(\d)(?!\d)|(\d)\s*(?=\{)|(?=\{))")
_ROOT_SYMBOL = re.compile(r"\\sqrt\s*(?:(\d+|[A-Za-z](?![A-Za-z]))|(?=[\[{(]))")
_CHOICE_OF = re.compile(r"\{\s*([^{}\\]*)\\choose(?![A-Za-z])\s*([^{}\\]*)\}")
_PERIOD = re.compile(r"(?<=\.)(\d*)(?:\\(?:bar|overline|dot)\s*(?:\{(\d+)\}|(\d))(?:(\d*)\\dot\s*\{?(\d)\}?)?"
                     r"|\((\d+)\)(?![\d(^]))(?:\s*(?:\.{3,}|\\ldots(?![A-Za-z])))?")
_AND_SO_ON = re.compile(r"(?<=\.)(\d{2,40})\s*(?:\.{3,}|\\ldots(?![A-Za-z]))")
_DEGREES = re.compile(r"\^\s*(?:\\circ(?![A-Za-z])|\{\s*\\circ\s*\}|\{?\s*o\s*\}?(?![A-Za-z]))\s*")


def plain(text: str) -> str:
    """`text` with Unicode's digits, signs, spaces, fractions and letters as ASCII or TeX; linear in its length."""
    if text.isascii():
        return text
    out: list[str] = []
    text = _SCRIPT_FRACTION.sub(_script_fraction, _MICRO.sub("u", text))
    text = _SCRIPT.sub(_script, text)
    text = _OVERLINED.sub(lambda match: f"\\overline{{{''.join(filter(str.isdecimal, match[1]))}}}", text)
    for char, following in zip(text, [*text[1:], ""], strict=True):
        if char in _VULGAR:
            mixed = bool(out) and out[-1][-1:].isdigit()
            factor = not mixed and (following.isalpha() or following == "√")  # ½π
            out.append(f"({_VULGAR[char]})" if factor else f"{' ' if mixed else ''}{_VULGAR[char]}")
        elif char in _SYMBOLS:
            out.append(_SYMBOLS[char])
        elif char in _INVISIBLE:
            continue
        elif char in _SPACES:
            out.append(" ")
        elif char.isdecimal():
            out.append(str(unicodedata.decimal(char)))
        else:
            out.append(char if char.isascii() else unicodedata.normalize("NFKC", char))
    return "".join(out)


def _script_fraction(match: re.Match[str]) -> str:
    top, bottom = ("".join(map({**_RAISED, **_LOWERED}.__getitem__, part)) for part in match.groups())
    return f"{' ' if match.string[:match.start()][-1:].isdigit() else ''}{top}/{bottom}"


def _script(match: re.Match[str]) -> str:
    if match[1]:
        return "^{" + "".join(_RAISED[char] for char in match[1]) + "}"
    return "_{" + "".join(_LOWERED[char] for char in match[2]) + "}"


def _joined(match: re.Match[str]) -> str:
    """Digits in groups of three as one number, where one mark stands between all of them."""
    groups = re.findall(r"\d+", match[0])
    marks = {part.replace(" ", "") for part in re.split(r"\d+", match[0])[1:-1]}
    return match[0] if len(marks) > 1 or groups[0].startswith("0") else "".join(groups)


def _repeated(match: re.Match[str]) -> str:
    """A repeating decimal however it is marked: 0.\\dot{3}, 0.\\bar{3}, 0.1(6), 0.\\dot{1}4285\\dot{7}."""
    lead, braced, single, between, last, bracketed = match.groups()
    return f"{lead}\\overline{{{bracketed or (braced or single) + (between or '') + (last or '')}}}"


def _and_so_on(match: re.Match[str]) -> str:
    """0.1666... as the repeating decimal that it shows, where its last digits repeat for at least half of them; else
    the digits alone."""
    digits, before = match[1], match.string[max(0, match.start() - 3):match.start()]
    for period in range(1, len(digits) // 2 + 1):
        for lead in range(len(digits) // 2 + 1):
            tail = digits[lead:]
            if len(tail) >= 2 * period and tail[period:] == tail[:-period] \
                    and not (before.lstrip("- ").startswith("2.") and _EULER.startswith(digits)):
                return f"{digits[:lead]}\\overline{{{tail[:period]}}}"
    return digits


@functools.lru_cache(maxsize=1 << 12)
def notation(answer: str) -> str:
    r"""`answer` in one notation: `\frac` and `\sqrt` with braces, `\text` for upright words, single spaces, digits in
    groups of three joined (1{,}042, 1'042, 1 042; a bare comma is left: it may also stand in a list), numbers that are
    words in digits."""
    text = plain(answer)
    if "\\" in text:
        text = _MARKED.sub(r"\1", text)
        text = _SYNONYM.sub(lambda match: _SYNONYMS[match[1]], text)
        text = _FONT.sub("", _BOLD_REALS.sub(r"\\mathbb{R}", text))
        text = _TEXT.sub(_upright, text)
        text = _DROPPED.sub("", text)
    text = re.sub(r"\\sqrt\s*(\[\d+\])\s*(\d+|[A-Za-z])", r"\\sqrt\1{\2}", text)
    text = _DECIMAL_COMMA.sub(r"\1.", _THOUSANDS.sub(_joined, text))
    if "\\" in text:
        text = _SPACING.sub(lambda match: match[1] or " ", text).replace("\\!", "")
        text = text.replace("\\$", "$").replace("\\%", "%").replace("\\#", "#").replace("\\&", "&").replace("\\_", "_")
        text = _FRACTION_DIGITS.sub(_fraction, text)
        text = _ROOT_SYMBOL.sub(lambda match: f"\\sqrt{{{match[1]}}}" if match[1] else "\\sqrt", text)
        text = re.sub(r"\\mu\s*\\text\{", r"\\text{u", text)
        text = _CHOICE_OF.sub(r"\\binom{\1}{\2}", text)
        text = re.sub(r"\\\{\s*\\\}", r"\\emptyset ", text)
    text = _AND_SO_ON.sub(_and_so_on, _PERIOD.sub(_repeated, text)).replace("{:}", ":")
    text = in_digits(text)
    text = re.sub(r"(?<=[,\s])\.\.\.", r"\\ldots ", re.sub(r"^(?:minus|negative)\s+(?=[\d.])", "-", text))
    text = _DEGREES.sub(r" \\text{degree} ", text.replace("~", " "))
    return " ".join(text.split())


def _upright(match: re.Match[str]) -> str:
    """Words stay marked as text; digits, brackets and signs need no mark."""
    inside = match[1].strip()
    if not inside:
        return " "
    if inside.lower() in ("and", "or"):
        return f" {inside.lower()} "
    if re.fullmatch(r"[^\W\d_]+", inside) and inside.lower() not in ("e", "i", "pi", "d"):
        return f" \\text{{{inside}}} "
    if _QUANTITY.fullmatch(inside) and re.search(r"[\d})]$", match.string[:match.start()].rstrip(" ~\\,;:")):
        return " " + re.sub(r"[^\W\d_]+", r"\\text{\g<0>}", inside) + " "
    return f" {inside} " if match[1][:1].isspace() or inside[0].isalpha() else inside


def _fraction(match: re.Match[str]) -> str:
    if match[1]:
        return f"\\frac{{{match[1]}}}{{{match[2]}}}"
    return f"\\frac{{{match[3]}}}" if match[3] else "\\frac"


def squeezed(text: str) -> str:
    """`text` without the white space that means nothing: what stands between two digits or two letters is kept."""
    return re.sub(r"\s+", lambda match: " " if _parts(match) else "", text)


def _parts(match: re.Match[str]) -> bool:
    """Whether the space keeps two numbers or two words apart."""
    before, after = match.string[match.start() - 1:match.start()], match.string[match.end():match.end() + 1]
    return ((before.isdigit() or before == ".") and after.isdigit()) or (before.isdigit() and after == ".") or (
        before.isalpha() and after.isalpha())
