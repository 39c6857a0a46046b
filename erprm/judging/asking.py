"""Questions to a language model whose answers lie in a rollout store: what is there is not asked again.

    with RolloutStore.open(place, judge_settings(engine, sampling, 0)) as store:
        for records in ask_missing(store, engine, sampling, [(Question("key", "Is 1+1=2?"), 0)], seed=0, part=256):
            ...                                       # committed: a kill after this loses none of them
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from erprm.engines.base import Engine, Request, Sampling, prefix_seed
from erprm.rollouts.store import Record, RolloutStore


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge is asked.

    Attributes:
        key: equal for questions that are the same.
        text: the question as the model gets it.
        problem_id: for people who read the store.
    """

    key: str
    text: str
    problem_id: str = ""


def judge_settings(engine: Engine, sampling: Sampling, seed: int) -> dict[str, str]:
    """What answers depend on besides the questions, for a store."""
    return {"kind": "judge", **{f"judge.{name}": value for name, value in engine.fingerprint().items()},
            **{f"sampling.{name}": json.dumps(value) for name, value in dataclasses.asdict(sampling).items()},
            "seed": str(seed)}


def ask_missing(store: RolloutStore, engine: Engine, sampling: Sampling, missing: Sequence[tuple[Question, int]],
                seed: int, part: int) -> Iterator[list[Record]]:
    """Ask for (question, number of the answer), commit `part` answers together, and yield what was committed."""
    for begin in range(0, len(missing), part):
        batch = missing[begin: begin + part]
        answers = engine.sample([Request(question.text, "", 1, prefix_seed(seed, question.key) + sample)
                                 for question, sample in batch], sampling)
        records = [Record(question.key, sample, question.problem_id, "", answer.text, answer.finish_reason,
                          answer.tokens, None, False)
                   for (question, sample), (answer,) in zip(batch, answers, strict=True)]
        store.commit(records)
        yield records
