"""What may reach a verifier that evaluates it as Python or SymPy code.

    ANSWERS["countdown"].holds("(3+4)*2")                     # True
    ANSWERS["countdown"].holds("__import__('os')")            # False: wrong, and never run

Some of reasoning-gym's verifiers call `eval`, or SymPy's `parse_expr`, which is `eval`, on the answer, some on a
field of the problem. A policy writes the one, and a file that came from elsewhere holds the other. Either is let
through only where it is made of the signs and words that such texts are made of; what is evaluated can then be
nothing but numbers, lists of numbers and the functions named here. Tasks without an entry compare text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 10_000  # characters of a text that is evaluated
_WORD = re.compile(r"[^\W\d]\w*")
_ATTRIBUTE = re.compile(r"\.\s*[^\W\d]")


@dataclass(frozen=True, slots=True)
class Alphabet:
    """ASCII digits, white space, some signs, and words that match a regular expression whole ("": no word)."""

    signs: str
    words: str = ""

    def holds(self, text: str) -> bool:
        """Whether `text` is made of nothing else. Linear in its length."""
        if len(text) > LONGEST or "__" in text or _ATTRIBUTE.search(text):
            return False
        words = re.compile(self.words or r"(?!)")
        if any(words.fullmatch(word) is None for word in _WORD.findall(text)):
            return False
        return set(_WORD.sub("", text)) <= set("0123456789 \t\n" + self.signs)


_CALCULUS = Alphabet("+-*/^().,", "[a-zA-Z]|a?(sin|cos|tan)h?|sec|csc|cot|log|ln|exp|sqrt|pi|Integral")
ANSWERS: dict[str, Alphabet] = {
    "binary_matrix": Alphabet(",[]"),
    "countdown": Alphabet("+-*/()."),
    "intermediate_integration": _CALCULUS,
    "n_queens": Alphabet(",[]", "Q|_"),
    "polynomial_multiplication": Alphabet("+-*/^().", "[a-z]"),
    "puzzle24": Alphabet("+-*/()."),
    "simple_integration": _CALCULUS,
    "spiral_matrix": Alphabet("-,[]"),
    "string_insertion": Alphabet("", "[A-E]+"),
}
"""Tasks whose verifier evaluates the policy's answer."""
FIELDS: dict[str, tuple[str, Alphabet]] = {
    "bitwise_arithmetic": ("problem", Alphabet("+-*<>()", "x[0-9a-fA-F]+")),
    "intermediate_integration": ("integrand", _CALCULUS),
    "number_sorting": ("answer", Alphabet("+-.,[]'\"")),
    "polynomial_multiplication": ("answer", ANSWERS["polynomial_multiplication"]),
    "simple_integration": ("integrand", _CALCULUS),
}
"""Tasks whose verifier evaluates the problem's answer, or a field of its metadata, and which."""
