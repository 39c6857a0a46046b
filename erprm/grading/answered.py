"""How many texts state a final answer: a policy whose mark is unknown would be all wrong without a word.

    answered = Answered("completions")
    answered.add(text, verdict.answer, cut=finish_reason == "length")
    print(answered)                 # 3 of 40 completions (7.5 %) state no final answer, ...; some of them
"""

from __future__ import annotations

from dataclasses import dataclass, field

from erprm.terminal import shortened

WORRYING = 0.2  # share without an answer from which on a report warns
_EXAMPLES, _SHOWN = 3, 100


@dataclass(slots=True)
class Answered:
    """Counts of texts, with a few of those without an answer.

    Attributes:
        unit: what the texts are, in the plural.
        texts, without: how many there are, and how many state none; cut: of these, cut off before they ended.
    """

    unit: str
    texts: int = 0
    without: int = 0
    cut: int = 0
    _ended: list[str] = field(default_factory=list)
    _cut: list[str] = field(default_factory=list)

    def add(self, text: str, answer: str | None, cut: bool = False) -> None:
        """Count one text, cut off before it ended or not."""
        self.count(1, int(answer is None), int(answer is None and cut))
        kept = self._cut if cut else self._ended
        if answer is None and len(kept) < _EXAMPLES:
            kept.append(shortened(text, _SHOWN))

    def count(self, texts: int, without: int, cut: int) -> None:
        """Count texts that are not at hand."""
        self.texts, self.without, self.cut = self.texts + texts, self.without + without, self.cut + cut

    @property
    def share(self) -> float:
        """Of the texts without an answer."""
        return self.without / max(1, self.texts)

    def __str__(self) -> str:
        line = f"{self.without:,} of {self.texts:,} {self.unit} ({self.share:.1%}) state no final answer"
        if not self.without:
            return line
        lines = [line + (f", {self.cut:,} of them cut off" if self.cut else "") + "; the ends of some:"]
        lines += [f"    {text}" for text in (self._ended + self._cut)[:_EXAMPLES]]
        if self.share > WORRYING:
            lines.append(f"warning: {self.share:.0%} of the {self.unit} count as wrong because no answer is found in "
                         "them; where the policy marks its answers in a way of its own, --answer-pattern REGEX or "
                         "--answer last-number reads them"
                         + ("; those that were cut off need a higher --max-tokens" if self.cut else ""))
        return "\n".join(lines)
