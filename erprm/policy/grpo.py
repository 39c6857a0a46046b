"""Group relative policy optimisation of a policy under a process reward model, with TRL's GRPOTrainer.

    reward = PRMReward("runs/prm", mode="softmin")
    report = train_grpo("models/policy", problems, reward, "models/grpo", GRPOOptions(max_steps=200, dense=True))

With `dense` every step is credited by itself: a token's advantage is what its completion earns from that token's step
on, less what the group's completions earn from the same step on, over the deviation of the group's totals. Else a
completion has one advantage, from its total, as TRL computes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError, import_extra
from erprm.grading import GraderPool
from erprm.options import option
from erprm.policy.fine_tuning import SFTOptions, load_policy, policy_tokenizer, save
from erprm.policy.reward import PRMReward, Rewarded, step_tokens
from erprm.problems import Problem
from erprm.values import Array

_EPSILON = 1e-4  # TRL's, added to the deviation


@dataclass(frozen=True)
class GRPOOptions(SFTOptions):
    """How a policy is trained; --batch-size x --gradient-accumulation completions make an optimiser step.

    Raises:
        InputError: for a value outside its range.
    """

    n: int = option(8, help="completions of a problem, its group", least=2)
    max_tokens: int = option(512, help="longest completion, in tokens", least=1)
    sampling_temperature: float = option(1.0, help="of the policy when it writes completions", above=0)
    beta: float = option(0.02, help="strength of the KL penalty against the policy that training began with", least=0)
    epsilon: float = option(0.2, help="how far a token's probability ratio may move in a step before it is clipped",
                            above=0)
    dense: bool = option(False, help="each step is credited by itself, at its tokens; else a completion as a whole")
    max_steps: int = option(100, help="optimiser steps; -1: as many as --epochs takes", least=-1)
    learning_rate: float = option(1e-6, help="peak learning rate, with linear decay", least=0)
    warmup_steps: int = option(10, help="steps of linear warm-up", least=0)
    max_length: int = option(1024, help="longest question with its completion, in tokens; problems whose question "
                                        "leaves less than --max-tokens are dropped and counted", least=1)


@dataclass(frozen=True, slots=True)
class GRPOReport:
    """What was trained on: problems kept, problems dropped as too long; and the rewards of the first and the last tenth
    of the steps, with the KL divergence from the beginning policy in the last tenth (None without a penalty)."""

    problems: int
    dropped: int
    steps: int
    first: float
    last: float
    kl: float | None


class GradedOutcome:
    """The grader's reward, 1 for a right final answer and 0 for a wrong one where it is strict, called as TRL does."""

    __name__ = "outcome"

    def __init__(self, problems: Sequence[Problem], grader: GraderPool) -> None:
        self._problems, self._grader = {problem.id: problem for problem in problems}, grader

    def __call__(self, prompts: Sequence[Any], completions: Sequence[str], *, problem_id: Sequence[str], **_: Any,
                 ) -> list[float]:
        """[B] float; `problem_id` names the problem of each completion."""
        return [verdict.reward for verdict in self._grader.verdicts(
            [(text, self._problems[name]) for text, name in zip(completions, problem_id, strict=True)])]


def train_grpo(model: str | Path, problems: Sequence[Problem], reward: PRMReward | GradedOutcome, out: str | Path,
               options: GRPOOptions, template: PromptTemplate | None = None) -> GRPOReport:
    """Train the causal LM at `model` on its own completions of `problems` and save it in `out`.

    Args:
        reward: pays completions; a `GradedOutcome` for training on right and wrong alone.

    Raises:
        InputError: for groups that don't fill a batch, when no problem fits, when `dense` has no steps to credit, for a
            template that the model refuses, for a NaN loss.
        MissingExtraError: without TRL.
    """
    if options.dense and not isinstance(reward, PRMReward):
        raise InputError("dense: expected a process reward, which has steps to credit, found an outcome alone")
    trl = import_extra("trl", "trl")
    import datasets

    from erprm.prm.training.saving import WholeCheckpoints

    asking = template or PromptTemplate()
    tokenizer = policy_tokenizer(model, asking)
    lengths = [len(ids) for ids in asking.many_ids(tokenizer, [(problem.question, "") for problem in problems])]
    kept = [problem for problem, length in zip(problems, lengths, strict=True)
            if length + options.max_tokens <= options.max_length]
    if not kept:
        raise InputError(f"problems: expected one whose question leaves {options.max_tokens} of {options.max_length} "
                         f"tokens, found none of {len(problems)}")
    policy, vocabulary = load_policy(model, options.dtype)
    size, passes = options.batches(options.max_length, vocabulary)
    if size * passes % options.n:
        raise InputError(f"batch_size: expected a batch of completions that n = {options.n} divides, found {size} x "
                         f"{passes}")
    ledger = _Ledger(reward)
    arguments = trl.GRPOConfig(
        **options.arguments(out, (size, passes)), beta=options.beta, epsilon=options.epsilon, logging_steps=1,
        num_generations=options.n, max_completion_length=options.max_tokens, temperature=options.sampling_temperature)

    class Trainer(WholeCheckpoints, trl.GRPOTrainer):  # type: ignore[misc, name-defined]
        def _tokenize_prompts(self, prompts: list[str]) -> Any:
            return asking.many_ids(tokenizer, [(question, "") for question in prompts]), None, {}

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            batch = super()._generate_and_score_completions(inputs)
            if options.dense:
                found = step_advantages(_gathered(ledger.paid), options.n)
                first = self.accelerator.process_index * len(ledger.paid)
                tokens = ledger.at_tokens(tokenizer, found[first: first + len(ledger.paid)],
                                          batch["completion_ids"].shape[1])
                batch["advantages"] = batch["advantages"].new_tensor(tokens)
            return batch

    trainer = Trainer(model=policy, reward_funcs=ledger, processing_class=tokenizer, args=arguments,
                      train_dataset=datasets.Dataset.from_list([
                          {"prompt": problem.question, "problem_id": problem.id} for problem in kept]))
    trainer.train()
    save(trainer, out)
    history = [entry for entry in trainer.state.log_history if "reward" in entry]
    tenth = max(1, len(history) // 10)

    def mean(name: str, entries: Sequence[dict[str, float]]) -> float:
        return float(np.mean([entry[name] for entry in entries]))

    return GRPOReport(len(kept), len(problems) - len(kept), trainer.state.global_step, mean("reward", history[:tenth]),
                      mean("reward", history[-tenth:]), mean("kl", history[-tenth:]) if options.beta else None)


def step_advantages(rewards: Sequence[npt.ArrayLike], n: int) -> list[Array]:
    """The advantage of each step of each completion, [L] float64.

    A step's return is what its completion is paid from it on; less the mean return, from the same step on, of those
    completions of the group that have it; over the standard deviation of the group's totals. The first step's is GRPO's
    advantage of the whole.

    Args:
        rewards: B lists of step rewards [L], the n completions of each group in a row.
    """
    returns = [np.cumsum(np.asarray(part, np.float64)[::-1])[::-1] for part in rewards]
    result: list[Array] = []
    for start in range(0, len(returns), n):
        group = returns[start: start + n]
        spread = np.std([part[0] for part in group], ddof=1) + _EPSILON
        baselines = [np.mean([part[step] for part in group if len(part) > step])
                     for step in range(max(map(len, group)))]
        result += [(part - baselines[: len(part)]) / spread for part in group]
    return result


class _Ledger:
    """Passes a reward's sums on to TRL, and keeps what each step of the last batch was paid."""

    def __init__(self, reward: PRMReward | GradedOutcome) -> None:
        self.__name__ = reward.__name__
        self._reward = reward
        self._texts: list[str] = []
        self._ids: list[list[int]] = []
        self.paid: list[Rewarded] = []

    def __call__(self, prompts: list[Any], completions: list[str], completion_ids: list[list[int]], **columns: Any,
                 ) -> list[float]:
        if not isinstance(self._reward, PRMReward):
            return self._reward(prompts, completions, **columns)
        self._texts, self._ids = list(completions), list(completion_ids)
        self.paid = self._reward.rewarded(prompts, completions, completion_ids=completion_ids, **columns)
        return [float(item.rewards.sum()) for item in self.paid]

    def at_tokens(self, tokenizer: Any, advantages: Sequence[Array], length: int) -> Array:
        """[B, T]: each token has its step's; tokens behind the last step have the last one's."""
        result = np.zeros((len(self.paid), length))
        for row, item, values, text, ids in zip(result, self.paid, advantages, self._texts, self._ids, strict=True):
            begin = 0
            for place, value in zip(step_tokens(tokenizer, text, ids, item.ends), values, strict=True):
                row[begin: place + 1] = value
                begin = max(begin, place + 1)
            row[begin: len(ids)] = values[-1]
        return result


def _gathered(paid: Sequence[Rewarded]) -> list[list[float]]:
    """The step rewards of all processes' completions, in the order of their groups."""
    from accelerate.utils import gather_object

    gathered: list[list[float]] = gather_object([item.rewards.tolist() for item in paid])
    return gathered
