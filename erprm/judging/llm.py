"""A language model as judge: it reads a solution in numbered steps and names the first wrong one.

    judge = ask(rows, engine, Sampling(temperature=0.0, max_tokens=1024), "verdicts.store", JudgePrompt())
    verdicts, report = judge_rows(rows, judge, "llm")

Any engine can be asked. Answers lie in a rollout store: an interrupted run goes on from there, and the same question
about the same steps is never asked twice. An answer from which no step can be read is no verdict; it is counted, and
above a share of them the whole run is refused, because a judge that does not follow the instructions is no judge.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from erprm.engines.base import Engine, Sampling
from erprm.errors import InputError
from erprm.files.progress import progress
from erprm.judging.asking import Question, ask_missing, judge_settings
from erprm.judging.judges import Judge, NoVerdictError
from erprm.judging.prompt import JudgePrompt
from erprm.judging.verdicts import texts
from erprm.rollouts.store import RolloutStore, read_parts
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
    settings = judge_settings(engine, sampling, seed) | {
        "prompt": hashlib.blake2b(prompt.text.encode(), digest_size=8).hexdigest()}
    questions = {_key(row): row for row in rows}
    with RolloutStore.open(place, settings) as store:
        known = {(key, sample) for table in store.completed()
                 for key, sample in zip(table["prefix_id"].to_pylist(), table["sample"].to_pylist(), strict=True)}
        missing = [(Question(key, prompt.of(row), row.problem_id), sample) for key, row in questions.items()
                   for sample in range(prompt.votes) if (key, sample) not in known]
        with progress("judging", len(missing), "answers") as bar:
            for records in ask_missing(store, engine, sampling, missing, seed, part):
                bar.advance(len(records), tokens=sum(record.tokens for record in records))
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
