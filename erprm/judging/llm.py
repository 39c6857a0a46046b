"""A language model as judge: it reads a solution in numbered steps and names the first wrong one.

    judge = ask(rows, engine, Sampling(temperature=0.0, max_tokens=1024), "verdicts.store", JudgePrompt())
    verdicts, report = judge_rows(rows, judge, "llm")

Any engine can be asked. Answers lie in a rollout store: an interrupted run goes on from there, and the same question
about the same steps is never asked twice. An answer from which no step can be read is no verdict; it is counted, and
above a share of them the whole run is refused, because a judge that does not follow the instructions is no judge.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from erprm.engines.base import Engine, Request, Sampling, prefix_seed
from erprm.errors import InputError
from erprm.files.progress import progress
from erprm.judging.judges import Judge, NoVerdictError
from erprm.judging.prompt import JudgePrompt
from erprm.judging.verdicts import texts
from erprm.rollouts.store import Record, RolloutStore, read_parts
from erprm.rows import StepRow


def ask(rows: Sequence[StepRow], engine: Engine, sampling: Sampling, place: str | Path, prompt: JudgePrompt, *,
        seed: int = 0, malformed: float = 0.2, part: int = 256) -> Judge:
    """Ask about every solution that has no answer yet, then judge by what was answered.

    Args:
        place: the store's folder or URL.
        malformed: largest share of answers that name no step.
        part: answers committed together.

    Raises:
        InputError: when more answers than that are malformed (one is quoted), or the store was begun with another
            engine, prompt, sampling or seed.
    """
    settings = {
        "kind": "judge", **{f"judge.{name}": value for name, value in engine.fingerprint().items()},
        **{f"sampling.{name}": json.dumps(value) for name, value in dataclasses.asdict(sampling).items()},
        "prompt": hashlib.blake2b(prompt.text.encode(), digest_size=8).hexdigest(), "seed": str(seed)}
    questions = {_key(row): row for row in rows}
    with RolloutStore.open(place, settings) as store:
        known = {(key, sample) for table in store.completed()
                 for key, sample in zip(table["prefix_id"].to_pylist(), table["sample"].to_pylist(), strict=True)}
        missing = [(key, sample) for key in questions for sample in range(prompt.votes) if (key, sample) not in known]
        with progress("judging", len(missing), "answers") as bar:
            for begin in range(0, len(missing), part):
                batch = missing[begin: begin + part]
                requests = [Request(prompt.of(questions[key]), "", 1, prefix_seed(seed, key) + sample)
                            for key, sample in batch]
                answers = engine.sample(requests, sampling)
                store.commit([Record(key, sample, questions[key].problem_id, "", answer.text, answer.finish_reason,
                                     answer.tokens, None, False)
                              for (key, sample), (answer,) in zip(batch, answers, strict=True)])
                bar.advance(len(batch), tokens=sum(answer.tokens for (answer,) in answers))
    return _judge(place, questions, prompt, malformed)


def _judge(place: str | Path, questions: dict[str, StepRow], prompt: JudgePrompt, malformed: float) -> Judge:
    """The judge that the store's answers make."""
    named: dict[str, list[int]] = {key: [] for key in questions}
    answers, bad, example = 0, 0, ""
    for table in read_parts(place, ["prefix_id", "sample", "text"]):
        for record in table.to_pylist():
            row = questions.get(record["prefix_id"])
            if row is None or record["sample"] >= prompt.votes:
                continue
            answers += 1
            verdict = prompt.verdict(record["text"], len(row.steps))
            if verdict is None:
                bad, example = bad + 1, record["text"]
            else:
                named[record["prefix_id"]].append(verdict)
    if bad > malformed * answers:
        raise InputError(f"judge: {bad:,} of {answers:,} answers name no step (at most {malformed:.0%} may), for "
                         f"example {example[-80:]!r}; give another judge, prompt or verdict pattern")

    def judge(row: StepRow) -> int | None:
        votes = Counter(named.get(_key(row), ())).most_common(2)
        if not votes:
            raise NoVerdictError("with answers that name no step")
        if len(votes) > 1 and votes[0][1] == votes[1][1]:
            raise NoVerdictError("with as many votes for two verdicts")
        return None if votes[0][0] == -1 else votes[0][0]

    return judge


def _key(row: StepRow) -> str:
    """32 hex digits of the question and its steps."""
    return hashlib.blake2b(json.dumps(texts(row), ensure_ascii=False).encode("utf-8", "surrogatepass"),
                           digest_size=16).hexdigest()
