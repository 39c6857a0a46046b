"""Process rewards in the shapes that other reinforcement-learning stacks take.

    compute_score = verl_score(PRMReward("runs/prm", mode="min"))                   # verl's custom reward function
    rm_scores = verl_token_rewards(reward, questions, responses, mask)              # verl's reward managers, [B, T]
    output["rewards"] = skyrl_rewards(reward, questions, response_ids)              # SkyRL's GeneratorOutput

TRL's GRPOTrainer takes a `PRMReward` as it is, one number a completion. `make stacks` runs these inside the reward loop
of verl 0.9.1 and the checks of SkyRL 0.3.0 on what a generator returns; both pin other versions than erprm runs on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.policy.reward import PRMReward


def verl_score(reward: PRMReward) -> Callable[..., Any]:
    """A `compute_score` for verl's `reward.custom_reward_function` (before 0.9: `custom_reward_function`).

    verl's reward loop calls it from many threads at once, with data_source, solution_str, ground_truth and extra_info;
    they take turns. The batch manager of versions before 0.9 calls it with the plurals of those and lists. The question
    is `extra_info["question"]`, where verl's own data preparation puts it. Returned are `{"score", "step_scores"}`, a
    list of them for a batch; the step scores are JSON, since verl makes arrays of what it gets and averages numbers.

    Raises:
        InputError: from the call, without the solution or its question; for rewards that are normalised within a group,
            where one completion comes alone.
    """
    turn = threading.Lock()

    def compute_score(data_source: Any = None, solution_str: str | None = None, ground_truth: Any = None,
                      extra_info: Mapping[str, Any] | None = None, *, data_sources: Any = None,
                      solution_strs: Sequence[str] | None = None, ground_truths: Sequence[Any] | None = None,
                      extra_infos: Sequence[Mapping[str, Any]] | None = None, **_: Any) -> Any:
        if solution_strs is not None:
            with turn:
                return _scored(reward, solution_strs, ground_truths, extra_infos or [])
        if solution_str is None:
            raise InputError("solution_str: expected the text of a solution, found none")
        if reward.options.normalise:
            raise InputError("normalise: expected the completions of a group together, found one alone, as verl's "
                             "reward loop hands them over; verl itself normalises advantages")
        with turn:
            return _scored(reward, [solution_str], [ground_truth], [extra_info or {}])[0]

    return compute_score


def _scored(reward: PRMReward, solutions: Sequence[str], truths: Sequence[Any] | None,
            infos: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    questions = [info.get("question") for info in infos]
    if len(questions) != len(solutions) or not all(isinstance(question, str) for question in questions):
        raise InputError("extra_info: expected the question of every solution under 'question', found "
                         f"{[sorted(info) for info in infos][:1]}")
    found = reward.rewarded(questions, list(solutions), ground_truth=list(truths or [None] * len(solutions)))
    return [{"score": float(item.rewards.sum()),
             "step_scores": json.dumps([] if item.scores is None else item.scores.tolist())} for item in found]


def verl_token_rewards(reward: PRMReward, questions: Sequence[str], responses: npt.ArrayLike, mask: npt.ArrayLike,
                       ) -> npt.NDArray[np.float32]:
    """Rewards [B, T] float32 for `DataProto.batch["responses"]` [B, T] and its part of the attention mask.

    Each step's reward lies at its last token. A reward manager returns it, as a tensor, from `assemble_rm_scores` (verl
    0.9; before that under "reward_tensor").
    """
    ids, kept = np.asarray(responses), np.asarray(mask, bool)
    if ids.shape != kept.shape or ids.ndim != 2:
        raise InputError(f"mask: expected the shape of responses [B, T], found {kept.shape} for {ids.shape}")
    written = [row[: int(count)].tolist() for row, count in zip(ids, kept.sum(axis=1), strict=True)]
    result = np.zeros(ids.shape, np.float32)
    for row, tokens in zip(result, skyrl_rewards(reward, questions, written), strict=True):
        row[: len(tokens)] = tokens
    return result


def skyrl_rewards(reward: PRMReward, questions: Sequence[str], response_ids: Sequence[Sequence[int]],
                  ) -> list[list[float]]:
    """`rewards` of SkyRL's GeneratorOutput: for each response one number a token.

    SkyRL's own pass@n reads the last token alone; the mean reward that it logs is the sum over tokens.
    """
    texts = [reward.decode(ids) for ids in response_ids]
    return reward.token_rewards(list(questions), texts, response_ids)
