"""Process rewards in the shapes that other reinforcement-learning stacks take.

    compute_score = verl_score(PRMReward("runs/prm", mode="min"))                   # verl's custom reward function
    reward_tensor = verl_token_rewards(reward, questions, responses, mask)          # verl's reward managers, [B, T]
    output["rewards"] = skyrl_rewards(reward, questions, response_ids)              # SkyRL's GeneratorOutput

TRL's GRPOTrainer takes a `PRMReward` as it is, one number a completion. These follow the signatures that verl and SkyRL
document; they are not tested against those libraries themselves, which pin other versions of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.policy.reward import PRMReward


def verl_score(reward: PRMReward) -> Callable[..., Any]:
    """A `compute_score` for verl's `custom_reward_function.path`, which its reward loop calls as well.

    It is called with data_source, solution_str, ground_truth and extra_info; its batch manager with the plurals of
    those and lists. The question is `extra_info["question"]`, where verl's own data preparation puts it. Returned are
    `{"score", "step_scores"}`, a list of them for a batch.
    """
    def compute_score(data_source: Any = None, solution_str: str | None = None, ground_truth: Any = None,
                      extra_info: Mapping[str, Any] | None = None, *, data_sources: Any = None,
                      solution_strs: Sequence[str] | None = None, ground_truths: Sequence[Any] | None = None,
                      extra_infos: Sequence[Mapping[str, Any]] | None = None, **_: Any) -> Any:
        if solution_strs is not None:
            return _scored(reward, solution_strs, ground_truths, extra_infos or [])
        if solution_str is None:
            raise InputError("solution_str: expected the text of a solution, found none")
        return _scored(reward, [solution_str], [ground_truth], [extra_info or {}])[0]

    return compute_score


def _scored(reward: PRMReward, solutions: Sequence[str], truths: Sequence[Any] | None,
            infos: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    questions = [info.get("question") for info in infos]
    if len(questions) != len(solutions) or not all(isinstance(question, str) for question in questions):
        raise InputError("extra_info: expected the question of every solution under 'question', found "
                         f"{[sorted(info) for info in infos][:1]}")
    found = reward.rewarded(questions, list(solutions), ground_truth=list(truths or [None] * len(solutions)))
    return [{"score": float(item.rewards.sum()), "step_scores": [] if item.scores is None else item.scores.tolist()}
            for item in found]


def verl_token_rewards(reward: PRMReward, questions: Sequence[str], responses: npt.ArrayLike, mask: npt.ArrayLike,
                       ) -> npt.NDArray[np.float32]:
    """`reward_tensor` [B, T] float32 for `DataProto.batch["responses"]` [B, T] and its part of the attention mask.

    A reward manager returns it, as a tensor, under "reward_tensor": each step's reward lies at its last token.
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
    """`rewards` of SkyRL's GeneratorOutput: for each response one number a token."""
    texts = [reward.decode(ids) for ids in response_ids]
    return reward.token_rewards(list(questions), texts, response_ids)
