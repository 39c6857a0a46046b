"""Are evaluation problems among the training problems? Equal questions, and questions that share most of their words.

    found = contamination(evaluation_questions, training_questions)
    found.equal, found.similar, found.examples

Questions are compared in lower case without punctuation. *Equal*: the same words. *Similar*: at least half of the
question's runs of 8 words stand in some training question (shorter ones are only compared whole). Numbers are words, so
that a template filled with other numbers counts as another problem.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

_WORD = re.compile(r"\w+")
RUN, SHARE = 8, 0.5
_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Contamination:
    """Of distinct evaluation questions against the training ones.

    Attributes:
        questions, training: how many distinct ones there are.
        equal, similar: of the questions, how many are (similar ones are not equal).
        examples: the first of both kinds.
    """

    questions: int
    training: int
    equal: int
    similar: int
    examples: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As in evaluation.json."""
        return asdict(self)


def contamination(questions: Iterable[str], training: Iterable[str], run: int = RUN, share: float = SHARE,
                  ) -> Contamination:
    """Compare questions.

    Args:
        run: words that have to follow each other alike; share: of a question's runs, at least.
    """
    known: set[tuple[str, ...]] = set()
    runs: set[tuple[str, ...]] = set()
    for text in training:
        words = _words(text)
        if words not in known:
            known.add(words)
            runs.update(_runs(words, run))
    equal, similar = [], []
    distinct = {_words(text): text for text in questions}
    for words, text in distinct.items():
        own = _runs(words, run)
        if words in known:
            equal.append(text)
        elif own and sum(part in runs for part in own) >= share * len(own):
            similar.append(text)
    return Contamination(len(distinct), len(known), len(equal), len(similar), tuple([*equal, *similar][:_EXAMPLES]))


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _runs(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start: start + size]) for start in range(len(words) - size + 1)]
