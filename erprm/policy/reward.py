"""A process reward model as a reward for reinforcement learning: one number a completion, or one a token.

    reward = PRMReward("runs/prm", mode="min")
    trainer = GRPOTrainer(model=..., reward_funcs=reward, ...)                      # TRL: one number each
    reward = PRMReward("runs/prm", mode="shaping", tokenizer=tokenizer)
    reward.token_rewards(prompts, completions, completion_ids)                      # paid where each step ends

All completions of a call are scored together, so that a whole group is one batch and shared prefixes are computed once.
A completion that the model cannot read (too long), one that holds the step tag and one without a step are worth 0 and
are counted in `reward.report`; none ends a run. `erprm.policy.stacks` has the shapes that verl and SkyRL take.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.policy.crediting import RewardOptions, penalties, step_rewards
from erprm.selection.search import Scorer, Text, score_each
from erprm.steps import split_steps
from erprm.values import Array

Outcome = Callable[..., Sequence[float]]


def refusing_tags(scorer: Any) -> Scorer:
    """The `score` of a scorer, which refuses steps that hold the step tag: no policy is paid for writing it.

    A question may hold it: that is not the policy's doing, and the scorer spells it in other tokens.
    """
    score: Scorer = getattr(scorer, "score", scorer)

    def checked(texts: Sequence[Text]) -> Any:
        for number, written in enumerate(scorer.written([("", steps) for _, steps in texts]), start=1):
            if written:
                raise InputError(f"row {number}: holds the step tag")
        return score(texts)

    return checked if hasattr(scorer, "written") else score


@dataclass(frozen=True, slots=True)
class RewardReport:
    """What has been rewarded: completions scored, without a step, and refused by the model, with the first reason."""

    scored: int = 0
    empty: int = 0
    refused: int = 0
    reason: str = ""

    def __str__(self) -> str:
        why = f" (the first: {self.reason})" if self.reason else ""
        return (f"{self.scored:,} completions scored; worth 0: {self.empty:,} without a step, {self.refused:,} that "
                f"the model cannot read{why}")


@dataclass(frozen=True, slots=True)
class Rewarded:
    """One completion: where its steps end, what the model thinks of them, and what each is paid.

    Attributes:
        ends: L places in the text, behind the last character of each step; one for a completion without a step.
        scores: [L], the model's; None for a completion that could not be scored.
        rewards: [L], the process reward, the outcome at the last step, and penalties.
    """

    ends: tuple[int, ...]
    scores: Array | None
    rewards: Array


class PRMReward:
    """Rewards completions by the scores of their steps.

    Args:
        prm: a folder, or anything that scores (question, steps) pairs: a `PRMScorer`'s own or another's `score`.
        mode: see `erprm.policy.crediting.RewardOptions`, of which every other name is taken as well (`temperature`,
            `initial`, `outcome_weight`, `normalise`, `repeat_penalty`, `step_penalty`).
        how: the older name of `mode`.
        splitter: how completions separate steps.
        outcome: called as TRL calls a reward function, once for a batch; its rewards are mixed in with
            `outcome_weight` and stand at the last token.
        tokenizer: the policy's, for `token_rewards`.

    Raises:
        InputError: for unknown options, or an outcome without its weight.
    """

    __name__ = "erprm"  # TRL logs a reward under its function's name

    def __init__(self, prm: str | Path | Any, *, mode: str = "min", how: str | None = None, splitter: str = "newline",
                 outcome: Outcome | None = None, tokenizer: Any = None, **options: Any) -> None:
        try:
            self.options = RewardOptions(mode=how or mode, **options)
        except TypeError as error:
            raise InputError(f"PRMReward: {error}") from error
        if (outcome is None) != (self.options.outcome_weight == 0.0):
            raise InputError("outcome: expected it together with outcome_weight, found one of them")
        if isinstance(prm, (str, Path)):
            from erprm.prm.scoring.scorer import PRMScorer

            prm = PRMScorer(prm)
        self._score = refusing_tags(prm)
        self._splitter, self._outcome, self._tokenizer = splitter, outcome, tokenizer
        self.report = RewardReport()

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """One reward per completion, the sum over its steps, as TRL's GRPOTrainer takes it.

        Args:
            prompts: texts, or lists of chat turns; the question is the last turn, or the column "question".
            completions: texts, or lists of chat turns.
            columns: what TRL hands over besides, one value per completion; given to `outcome`.
        """
        return [float(item.rewards.sum()) for item in self.rewarded(prompts, completions, **columns)]

    def token_rewards(self, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Sequence[Sequence[int]],
                      **columns: Any) -> list[list[float]]:
        """One reward per token: each step's at its last token, zeros elsewhere; they sum to the completion's reward.

        Args:
            completion_ids: the tokens that the policy wrote, special ones included.
        """
        if self._tokenizer is None:
            raise InputError("tokenizer: expected the policy's tokenizer, to place rewards at tokens, found none")
        found = self.rewarded(prompts, completions, completion_ids=completion_ids, **columns)
        result = []
        for item, completion, ids in zip(found, completions, completion_ids, strict=True):
            tokens = [0.0] * len(ids)
            places = step_tokens(self._tokenizer, text_of(completion), list(ids), item.ends) if len(ids) else []
            for place, reward in zip(places, item.rewards, strict=False):  # no token, no place
                tokens[place] += float(reward)
            result.append(tokens)
        return result

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a completion's tokens, special ones left out."""
        if self._tokenizer is None:
            raise InputError("tokenizer: expected the policy's tokenizer, to place rewards at tokens, found none")
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def rewarded(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[Rewarded]:
        """Every completion with its steps' ends, scores and rewards, from one pass of the model."""
        texts = [text_of(completion) for completion in completions]
        questions = [str(question) for question in columns.get("question") or map(text_of, prompts)]
        steps = [split_steps(text, self._splitter) if text.strip() else [] for text in texts]
        asked = [index for index, part in enumerate(steps) if part]
        found = score_each(self._score, [(questions[index].strip(), steps[index]) for index in asked])
        scores = dict(zip(asked, found, strict=True))
        self._count(texts, scores)
        outcomes = None
        if self._outcome is not None:
            outcomes = np.asarray(self._outcome(prompts=prompts, completions=completions, **columns), np.float64)
            if outcomes.shape != (len(texts),) or not np.isfinite(outcomes).all():
                raise InputError(f"outcome: expected one finite reward for each of {len(texts)} completions, found "
                                 f"{outcomes.tolist()!r:.80}")
        return pay(questions, texts, steps, [scores.get(index) for index in range(len(texts))], outcomes,
                   self.options)

    def _count(self, texts: Sequence[str], scores: Mapping[int, Any]) -> None:
        refused = [error for error in scores.values() if isinstance(error, InputError)]
        self.report = replace(
            self.report, scored=self.report.scored + len(scores) - len(refused),
            empty=self.report.empty + len(texts) - len(scores), refused=self.report.refused + len(refused),
            reason=self.report.reason or (str(refused[0]) if refused else ""))


def pay(questions: Sequence[str], texts: Sequence[str], steps: Sequence[Sequence[str]],
        scores: Sequence[npt.NDArray[np.floating] | InputError | None], outcomes: Array | None,
        options: RewardOptions) -> list[Rewarded]:
    """What each of B completions is paid, once its steps are scored.

    Args:
        questions: [B], equal for the completions of one group.
        texts: [B] completions.
        steps: [B] lists of their steps; none for an empty completion.
        scores: [B], the step scores [L] of each; an error or None for a completion that has none, which is worth 0.
        outcomes: [B] graded outcomes; None where there are none.
        options: the mode, the weight of the outcome, penalties.
    """
    known = [None if item is None or isinstance(item, InputError) else np.asarray(item, np.float64) for item in scores]
    process = [np.zeros(max(len(part), 1)) if item is None else step_rewards(item, options)
               for part, item in zip(steps, known, strict=True)]
    graded = [np.zeros(1)] * len(texts) if outcomes is None else list(outcomes.reshape(-1, 1))
    if options.normalise:
        process, graded = _standardised(process, questions), _standardised(graded, questions)
    result = []
    for index, text in enumerate(texts):
        paid = (1.0 - options.outcome_weight) * process[index]
        paid[-1] += options.outcome_weight * float(graded[index][0])
        if steps[index]:
            paid = paid - penalties(steps[index], options)
        result.append(Rewarded(step_ends(text, steps[index]), known[index], paid))
    return result


def _standardised(rewards: Sequence[Array], groups: Sequence[str]) -> list[Array]:
    """Step rewards, scaled and shifted so that the totals of each group have mean 0 and standard deviation 1.

    The shift stands at the last step, so that the differences between steps stay what the mode made them. A group of
    equal totals becomes zeros in sum.
    """
    totals = np.array([part.sum() for part in rewards])
    result = [part.copy() for part in rewards]
    for group in set(groups):
        members = [index for index, name in enumerate(groups) if name == group]
        spread = totals[members].std()
        scale = 1.0 / spread if spread > 1e-8 else 1.0
        for index in members:
            result[index] *= scale
            result[index][-1] -= totals[members].mean() * scale
    return result


def text_of(value: Any) -> str:
    """A text, or the content of the last of some chat turns. Raises InputError."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        return str(value[-1]["content"])
    raise InputError(f"expected a text or a list of chat turns, found {type(value).__name__}")


def step_ends(text: str, steps: Sequence[str]) -> tuple[int, ...]:
    """Where each step ends in its text, behind its last visible character; the end of the text if there is no step."""
    ends = []
    place = 0
    for step in steps:
        seen = step.strip()
        place = text.index(seen, place) + len(seen)
        ends.append(place)
    return tuple(ends) or (len(text),)


def step_tokens(tokenizer: Any, text: str, ids: list[int], ends: Sequence[int]) -> list[int]:
    """The token of each step's last character, [L]: from offsets where the text encodes to these very tokens.

    A policy may write a text in other tokens than the tokenizer would; then they are decoded, as far as it takes.
    """
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if encoded["input_ids"] == ids[: len(encoded["input_ids"])]:
        stops: Sequence[int] = [stop for _, stop in encoded["offset_mapping"]]
        places = [bisect_left(stops, end) for end in ends]
    else:
        places, first = [], 0
        for end in ends:
            first = bisect_left(range(len(ids)), end, lo=first, key=lambda index: len(
                tokenizer.decode(ids[: index + 1], skip_special_tokens=True)))
            places.append(first)
    return [min(place, len(ids) - 1) for place in places]
