r"""What surrounds an answer taken off: `tidy(r"**$42.$**")` is "42"."""

from __future__ import annotations

import re

_AND_SO_ON = re.compile(r"(?:\.\d+|,)\s?\.\.\.$")  # 0.333..., and 1, 2, ...
_FENCED = re.compile(r"```\w*\n([^`]*)```")
LONGEST = 10_000  # characters of an answer that is read

_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("***", "***"), ("**", "**"), ("*", "*"),
             ("__", "__"), ("`", "`"), ('"', '"'), ("“", "”"), ("``", "''"), ("'", "'"))


def tidy(answer: str) -> str:
    r"""`answer` without what surrounds it: white space, math delimiters, emphasis, quotes, `\boxed`, closing marks."""
    text, before = answer.strip(), ""
    while text != before and len(text) <= LONGEST:
        before = text
        fenced = _FENCED.fullmatch(text.strip())
        text = (fenced[1] if fenced else text).strip().strip("\u200b\ufeff✅✔✓☑")
        if text.endswith("\\."):
            text = text[:-2]
        elif not (re.search(r"[\d)}A-Za-z]!$|\\[,;:!]$", text[-2:]) or _AND_SO_ON.search(text)):
            text = text.rstrip(" \t\r\n.,;:．。，；：!！")
        text = re.sub(r"\\[,;:! ]$|^\\[,;:! ]|^\\text\s*\{\s*the (?:final )?answer is:?\s*\}", "", text,
                      flags=re.IGNORECASE)
        for opening, closing in _WRAPPERS:
            inner = text[len(opening):-len(closing)]
            within = inner.replace("\\$", "")
            if len(text) > len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing) \
                    and opening not in within and closing not in within and not inner.endswith("\\"):
                text = inner
        boxed = re.match(r"\\(?:boxed|fbox)\s*\{", text)
        if boxed and text.endswith("}"):
            text = text[boxed.end():-1]
    return text
