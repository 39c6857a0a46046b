r"""Final answers that a policy could write to hang, break or take over whoever judges them: one table.

    HOSTILE["nested powers"]                            # r"The answer is ((((9^{16})^{16})^{16})^{16})^{16}"
    grown(random.Random(0), 50_000)                     # a text made of parts that readers look for
"""

import random

_POWERS = "9"
for _ in range(6):
    _POWERS = f"({_POWERS}^{{16}})"
_CODE = ("__import__('os').system('false')", "().__class__.__base__.__subclasses__()", "exec('x=1')",
         "[x for x in iter(int, 1)]", "9**9**9**9", "lambda: 0", "open('/etc/passwd').read()", "globals()",
         "Symbol('x').__class__", "{{7*7}}", "%s%n", "$(false)", "`false`", "'; DROP TABLE answers; --")
_NESTED = {"braces": "{", "brackets": "[", "parentheses": "(", "fractions": r"\frac{1}{", "roots": r"\sqrt{",
           "boxes": r"\boxed{", "texts": r"\text{", "powers": "2^{", "matrices": r"\begin{pmatrix}",
           "determinants": r"\begin{vmatrix}1&", "sums": r"\sum_{k=1}^{99}", "bars": "|",
           "thinking": "<think>", "answers": "<answer>", "left": r"\left("}
_REPEATED = {"threes": "3", "ands": "an ", "boxed": r"\boxed{1} ", "marks": "The answer is ", "unfinished marks":
             "the answer to the ", "colons": "answer: ", "hashes": "#", "commas": "1,", "thousands": " 123",
             "relations": "x<", "equals": "1=", "signs": "-", "factorials": "9!", "bases": "1_", "decimals": "1.",
             "dollars": "$ 1", "unions": r"\cup ", "signs of two": r"\pm 1", "remarks": "not in fact ", "options":
             "(A) ", "halves": "½", "invisible": "\u200b", "surrogates": "\ud800", "zeros": "\0", "escapes": "\x1b[2J",
             "line ends": "\n", "spaces": " ", "backslashes": "\\", "right to left": "\u202e", "combining": "\u0301",
             "digits of another alphabet": "٣", "powers": "^", "quotes": "'", "moduli": r"(mod ", "e": "1e", "lists":
             "[1,", "ratios": "1:", "and": " and 1", "emoji": "\U0001f600", "ends": "</answer>", "degrees": "°",
             "number words": "two-", "thousands in words": "a thousand and ", "announcements": "la respuesta ",
             "announced lines": "Die Antwort\n", "differences": r"[0,1]\setminus\{0\}", "unequal": r"x \ne 1, ",
             "distances": "|x|>", "products": r"\prod_{k=1}^{999} k", "rows": r"1 & 2 \\ ", "abbreviations": "3k "}


def _undecided(depth: int) -> str:
    return r"\log 2" if depth == 0 else rf"\{{{_undecided(depth - 1)},{_undecided(depth - 1)}\}}"


HOSTILE: dict[str, str] = {
    "nested powers": f"The answer is {_POWERS}",
    "powers of powers": r"\boxed{9^{9^{9^{9^9}}}}",
    "a long decimal": "The answer is 0." + "3" * 5000,
    "a long integer": "The answer is " + "9" * 5000,
    "10**400": r"\boxed{1" + "0" * 400 + "}",
    "a large exponent": r"\boxed{1e999999999}", "a small exponent": r"\boxed{1e-999999999}",
    "factorials": r"\boxed{99!!!!!!}", "a large factorial": r"\boxed{99999999!}",
    "a large root": r"\boxed{\sqrt[999999999]{2}}", "a large binomial": r"\boxed{\binom{10^{9}}{5\cdot 10^{8}}}",
    "a large sum": r"\boxed{\sum_{n=1}^{10^{12}} n!}", "an integral": r"\boxed{\int_0^{1} e^{e^{e^{x^{x}}}} \, dx}",
    "a sum of a billion terms": r"\boxed{\sum_{k=1}^{1000000000} k}",
    "sums of sums": r"\boxed{\sum_{a=1}^{999}\sum_{b=1}^{999}\sum_{c=1}^{999} abc}",
    "a product of powers": r"\boxed{\prod_{k=1}^{999} (x+k)^{9}(y+k)^{9}}",
    "many sums": r"\boxed{" + r"\sum_{k=1}^{4000} \frac{k^{40}}{7^{k}}," * 99 + "1}",
    "a large determinant": r"\boxed{\begin{vmatrix}" + (r"x & 2" + " & y" * 28 + r"\\") * 30 + r"\end{vmatrix}}",
    "a sum of determinants": r"\boxed{\sum_{k=1}^{999} \begin{vmatrix}" + r"k&x&y&z&w&1\\" * 6 + r"\end{vmatrix}}",
    "a large matrix": r"\boxed{\begin{pmatrix}" + r"1 & 2 \\" * 500 + r"\end{pmatrix}^{1000}}",
    "a large modulus": r"\boxed{3^{10^{20}} \pmod{10^{30}}}",
    "over zero": r"\boxed{\frac{1}{0}}", "infinity": r"\boxed{\infty^\infty}", "not a number": r"\boxed{NaN}",
    "words": r"\boxed{5 " + "an " * 26 + "!}",
    "sets that algebra would have to compare": rf"\boxed{{{_undecided(9)}}}",
    "a half surrogate": "The answer is \udfff", "a zero": "The answer is \0", "a bell and an escape":
    "The answer is \x1b]0;title\x07\x1b[31m5", "line separators": "The answer is 5\u2028\u2029\x85\x0b\x0c",
    "only white space": "\u00a0\u3000\t", "nothing": "", "a byte order mark": "\ufeff\ufeff", "a lone backslash": "\\",
    **{f"code: {code}": f"The answer is {code}" for code in _CODE},
    "open boxes": r"\boxed{" * 20_000,
    **{f"nested {name}": part * (40_000 // len(part)) for name, part in _NESTED.items()},
    **{f"boxed nested {name}": rf"\boxed{{{part * 90}}}" for name, part in _NESTED.items()},
    **{f"many {name}": part * (30_000 // len(part)) for name, part in _REPEATED.items()},
    **{f"boxed many {name}": rf"\boxed{{{part * (4_000 // len(part))}}}" for name, part in _REPEATED.items()},
    **{f"stated many {name}": f"The answer is {part * (400 // len(part))}" for name, part in _REPEATED.items()},
}
_PARTS = [*_NESTED.values(), *_REPEATED.values(), *_CODE, "}", ")", "]", "$", r"\)", "</think>", r"\end{pmatrix}", "7",
          "x", "0.5", " ", "\n", ".", "#### ", "**", "final answer", "é", "%", r"\%", "cm", "1/2", "=", "-"]


def grown(random: random.Random, longest: int) -> str:
    """A text of random parts, some of them many times, of at most `longest` characters."""
    length = int(10 ** random.uniform(0, len(str(longest)) - 1))
    text = random.choice(["", "The answer is ", r"\boxed{", "#### ", "<answer>"])
    while len(text) < length:
        text += random.choice(_PARTS) * random.choice((1, 1, 1, 2, 30, max(1, length // 8)))
    return text[:longest] + random.choice(["", "}", "</answer>", "."])
