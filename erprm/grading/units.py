"""Units after a number: which are one unit, which contradict each other, and by what factor two differ.

    read_unit(("cm",)).agrees(read_unit(("\\text{m}",)))        # False: another factor
    read_unit(("km", "/", "h")).agrees(read_unit(()))           # True: a unit that is left out contradicts none
    read_unit(("is", "wrong"))                                  # None: no unit
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

# One line a dimension (a length to the third power is a volume): each unit's size, and its spellings. A radian is 180
# degrees over pi.
_SYSTEM: dict[str, dict[int | str, str]] = {
    "length": {1: "m meter metre 米", "1/1000": "mm millimeter millimetre 毫米",
               "1/100": "cm centimeter centimetre 厘米",
               "1/10": "dm decimeter", 1000: "km kilometer kilometre 千米 公里", "0.0254": "in inch inche",
               "1/1000000": "um micrometer micrometre micron", "1/1000000000": "nm nanometer",
               "0.3048": "ft foot feet", "0.9144": "yd yard", "1609.344": "mi mile"},
    "mass": {1: "g gram gramme 克", "1/1000": "mg milligram", "1/1000000": "ug microgram",
             1000: "kg kilogram kilo 千克 公斤", 10**6: "tonne 吨",
             "453.59237": "lb lbs pound", "28.349523125": "oz ounce"},
    "time": {1: "s sec second 秒", "1/1000": "ms millisecond", 60: "min minute 分钟", 3600: "h hr hrs hour 小时",
             86400: "d day 天", 604800: "week 周", 2629746: "month", 31556952: "y yr year 年"},
    "length^3": {"1/1000": "l L liter litre 升", "1/1000000": "ml mL cc milliliter millilitre 毫升",
                 "0.003785411784": "gal gallon", "0.000946352946": "qt quart", "0.0002365882365": "cup"},
    "angle": {1: "degree deg 度", "1/60": "arcmin arcminute", "1/3600": "arcsec arcsecond", 180: "rad radian"},
    "temperature": {1: "C celsius", 1000: "F fahrenheit", 1001: "K kelvin"},
    "USD": {1: "$ dollar usd buck", "1/100": "cent ¢"}, "EUR": {1: "€ euro eur"}, "GBP": {1: "£ gbp pound-sterling"},
    "YEN": {1: "¥ yen 元 cny rmb yuan jpy 日元 人民币"}, "INR": {1: "₹ rupee rs inr"},
    "force": {1: "N newton"}, "power": {1: "W watt", 1000: "kW kilowatt"}, "voltage": {1: "V volt"},
    "resistance": {1: "ohm Ω", 1000: "kΩ"},
    "current": {1: "A amp ampere"}, "energy": {1: "J joule", 1000: "kJ"}, "frequency": {1: "Hz hertz"},
    "rank": {1: "ordinal"},
    "%": {1: "% percent pct percentage 百分之"},
}


class Known(NamedTuple):
    """A unit of the table: `size` of the first one of its dimension, to `power`."""

    dimension: str
    power: int
    size: Fraction


UNITS: dict[str, Known] = {
    word: Known(dimension.partition("^")[0], int(dimension.partition("^")[2] or 1), Fraction(size))
    for dimension, sizes in _SYSTEM.items() for size, words in sizes.items() for word in words.split()}
_DIMENSIONS = frozenset(known.dimension for known in UNITS.values())
_RATES = {"mph": ("mi", "h"), "kph": ("km", "h"), "kmph": ("km", "h"), "kmh": ("km", "h"), "fps": ("ft", "s")}
_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
           "万": 10**4, "亿": 10**8}
# Words after a number that change its value or say something of it; a text with one of them is no plain quantity.
_NOT_UNITS = frozenset((
    "pi", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "sqrt", "choose", "factorial", "over",
    "half", "halves", "third", "thirds", "quarter", "quarters", "plus", "minus", "times", "divided", "or", "and",
    "to", "by", "negative", "is", "are", "was", "were", "not", "isn", "wrong", "incorrect", "if", "then", "when",
    "but", "because", "since", "more", "less", "than", "at", "least", "most", "greater", "fewer", "either",
    "neither", "no", "nor", "false", "true"))
_FILLERS = frozenset((
    "a", "an", "the", "of", "in", "total", "each", "exactly", "about", "left", "remaining", "altogether", "unit"))


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as written.

    Attributes:
        scale: of the number itself: a million.
        dimensions: powers of dimensions and of words that are no known unit, sorted.
        factor: into the first units of these dimensions.
        pi: the power of pi that this factor has besides: of radians.
        modulus: of "(mod 7)"; "" else.
    """

    scale: Fraction = Fraction(1)
    dimensions: tuple[tuple[str, int], ...] = ()
    factor: Fraction = Fraction(1)
    modulus: str = ""
    pi: int = 0

    @property
    def known(self) -> bool:
        """Whether it is a unit of the table, or made of some."""
        return bool(self.dimensions) and all(name in _DIMENSIONS for name, _ in self.dimensions)

    @property
    def is_percent(self) -> bool:
        """A percentage."""
        return self.dimensions == (("%", 1),)

    def agrees(self, other: Unit) -> bool:
        """Whether two numbers with these units may be one quantity: a unit left out contradicts none, and neither does
        one that says more with the same word ("eggs", "duck eggs")."""
        if not self.dimensions or not other.dimensions or self.dimensions == other.dimensions:
            return not (self.modulus and other.modulus) or self.modulus == other.modulus
        left, right = ({name for name, _ in unit.dimensions if name not in _DIMENSIONS} for unit in (self, other))
        return bool(left & right)


def read_unit(tokens: Sequence[str]) -> Unit | None:
    """The unit that tokens after a number are, no tokens being the unit 1; None where they are something else."""
    text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", " ".join(tokens))
    text = re.sub(r"(?<=[^\x00-\x7f]) (?=[^\x00-\x7f])", "", text.replace(r"\bmod", "mod").replace(r"\pmod", "mod"))
    text = text.replace("平方", "square ").replace("立方", "cubic ").replace(r"\Omega", "Ω")
    modulus = re.fullmatch(r"\s*\(?\s*\\?mod\s*\{?\s*(\w+)\s*\}?\s*\)?\s*", text)
    if modulus:
        return Unit(modulus=modulus[1])
    if re.search(r"[^\w\s/%$^{}().,*€£¥₹¢'-]", text):
        return None
    scale, factor, powers, sign = Fraction(1), Fraction(1), dict[str, int](), 1
    pending, pi = 1, 0
    last: tuple[Known, int] | None = None
    words = re.findall(r"[^\W\d_]+(?:['-][^\W\d_]+)*|\^-?\d+|\d+|[/%$€£¥₹¢*(]",
                       re.sub(r"\^[\s{(]*(-?)\s*(?=\d)", r"^\1", text))
    for place, word in enumerate(words):
        low = word.lower()
        if low in ("/", "per", "每"):
            sign, last = -1, None
        elif low in _SCALES or low.rstrip("s") in _SCALES:
            scale *= _SCALES.get(low) or _SCALES[low.rstrip("s")]
        elif low in ("square", "sq", "cubic", "cu") and place + 1 < len(words):
            pending = 2 if low.startswith("sq") else 3
        elif low in ("squared", "cubed") or low[0] == "^":
            raised = {"squared": 2, "cubed": 3}.get(low) or int(low[1:4])
            if last is None or not 0 < abs(raised) <= 4:
                return None
            known, way = last
            powers[known.dimension] = powers.get(known.dimension, 0) + known.power * way * (raised - 1)
            factor *= known.size ** (way * (raised - 1))
            pi -= way * (raised - 1) if known == UNITS["rad"] else 0
        elif low in ("of", "for", "(", "by"):
            break  # boxes of 12
        elif low.isdecimal() or low in _NOT_UNITS:
            return None
        elif word != "*" and (word not in _FILLERS or (
                low == "in" and words[place + 1:place + 2] in ([], ["^2"], ["^3"]))):
            for part in _RATES.get(low, (word,)):
                known, power = _lookup(part), pending * sign
                powers[known.dimension] = powers.get(known.dimension, 0) + known.power * power
                factor *= known.size**power
                pi -= power if known == UNITS["rad"] else 0
                last, pending = (known, sign), 1
                if low in _RATES:
                    sign = -sign
    return Unit(scale, tuple(sorted(item for item in powers.items() if item[1])), factor, pi=pi)


def _lookup(word: str) -> Known:
    """A unit; a word that is none is a dimension of its own, in the singular."""
    for spelled in (word, word.lower(), word.lower().removesuffix("s"), word.lower().removesuffix("es")):
        if spelled in UNITS:
            return UNITS[spelled]
    return Known(word.lower().removesuffix("s"), 1, Fraction(1))
