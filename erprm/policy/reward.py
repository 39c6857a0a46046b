"""A process reward model as a reward function for TRL's GRPOTrainer and its kin.

    trainer = GRPOTrainer(model=..., reward_funcs=PRMReward("models/prm"), ...)
"""

from __future__ import annotations

from typing import Any

from erprm.errors import InputError
from erprm.prm.scoring.scorer import PRMScorer
from erprm.selection.aggregate import aggregate
from erprm.steps import split_steps


class PRMReward:
    """Scores completions: the aggregated step scores, in [0, 1]. A completion without any step is worth 0."""

    __name__ = "erprm"  # TRL logs a reward under its function's name

    def __init__(self, prm: str | PRMScorer, *, splitter: str = "newline", how: str = "min") -> None:
        """`prm` is a folder or a scorer; `how` as in `erprm.selection.aggregate`."""
        self._scorer = PRMScorer(prm) if isinstance(prm, str) else prm
        self._splitter, self._how = splitter, how

    def __call__(self, prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
        """One reward per completion. Prompts and completions are texts or lists of chat turns, as TRL passes them."""
        rewards = [0.0] * len(completions)
        pairs = []
        for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            text = _text(completion)
            if text.strip():
                pairs.append((index, (_text(prompt).strip(), split_steps(text, self._splitter))))
        for (index, _pair), scores in zip(pairs, self._scorer.score([pair for _, pair in pairs]), strict=True):
            rewards[index] = float(aggregate(scores, self._how))
        return rewards


def _text(value: Any) -> str:
    """The text, or the last turn's content."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        return str(value[-1]["content"])
    raise InputError(f"expected a text or a list of chat turns, found {type(value).__name__}")
