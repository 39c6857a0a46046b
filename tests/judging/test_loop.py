"""Every task with a step checker goes through the whole loop: first errors, a judge, their consensus, training rows."""

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny

from erprm.engines import Completion, Request, Sampling
from erprm.grading import GraderPool
from erprm.judging.consensus import agreeing
from erprm.judging.judges import judge_rows, program
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.training.encode import encode_dataset
from erprm.problems import Problem
from erprm.problems.tasks import TASKS, Task
from erprm.rollouts.finding import FirstErrors
from erprm.rollouts.run import LabelOptions, label
from erprm.rows import StepRow, read_rows
from erprm.steps import join_steps
from erprm.values.spec import TargetSpec


class Solver:
    """Goes on as some demonstration that begins with the prefix does, three times of four, and otherwise is lost."""

    def __init__(self, known: dict[tuple[str, str], str]) -> None:
        self.known = known  # (question, prefix) -> the rest of a right solution

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "solver 1"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        drawn = []
        for request in requests:
            rest = self.known.get((request.question, request.prefix))
            coins = [hashlib.blake2b(f"{request.seed + i}".encode(), digest_size=1).digest()[0]
                     for i in range(request.n)]
            drawn.append([Completion(rest if rest and coin < 192 else "lost", "stop", 4) for coin in coins])
        return drawn

    def close(self) -> None:
        pass


def material(task: Task) -> tuple[list[Problem], list[StepRow], Solver]:
    """Problems, a right and a wandering solution to each, and the policy that knows the right ones."""
    rng, rows, known = random.Random(3), [], {}
    problems = task.splits({"all": 8}, 2)["all"]
    for problem in problems:
        for wandering in (0.0, 0.8):
            steps = task.demonstrate(problem.metadata, rng, wandering)
            assert steps is not None
            wrong = task.first_wrong(problem.metadata, steps)
            rows.append(StepRow(problem.question, tuple(steps), problem_id=problem.id, outcome=float(wrong is None)))
            for length in range(1, len(steps)):
                if wrong is None:
                    known[problem.question, join_steps(steps[:length]) + "\n"] = join_steps(steps[length:])
    return problems, rows, Solver(known)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_goes_through_the_whole_loop(name: str, tmp_path: Path) -> None:
    problems, rows, engine = material(TASKS[name])
    with GraderPool(workers=1) as grader:
        report = label(problems, rows, engine, Sampling(max_tokens=40), tmp_path / "labels", grader,
                       LabelOptions(8, FirstErrors(0.9), splitter="newline"))
    assert report.completions > 0
    labelled = list(read_rows(report.rows))
    verdicts, judged = judge_rows(labelled, program(problems), "program")
    assert judged.wrong + judged.clean == len(rows)
    assert judged.wrong > 0
    kept, consensus = agreeing(labelled, program(problems), distance=1, confidence=0.5)
    assert consensus.agree == len(kept) > 0
    assert consensus.agree + sum(consensus.others.values()) == len(rows)
    tokenizer = tiny.tokenizer()
    for data, target in ((kept, TargetSpec("first-error")), (verdicts, TargetSpec("labels"))):
        _, encoded = encode_dataset(data, tokenizer, StepTokens.from_tokenizer(tokenizer), target=target,
                                    max_length=4096)
        assert encoded.labelled > 0
