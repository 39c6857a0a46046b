"""Every task with a step checker goes through the whole loop: first errors, a judge, their consensus, training rows.

Those that aren't arithmetic go through it by the commands that users call, as far as a reward model and its scores.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny

from erprm.cli import main
from erprm.engines import Completion, Request, Sampling
from erprm.grading import GraderPool
from erprm.judging.consensus import agreeing
from erprm.judging.judges import judge_rows, program
from erprm.judging.verdicts import first_wrong
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.training.encode import encode_dataset
from erprm.problems import Problem
from erprm.problems.tasks import TASKS, Task
from erprm.rollouts.finding import FirstErrors
from erprm.rollouts.run import LabelOptions, label
from erprm.rows import StepRow, read_rows, row_scores
from erprm.statistics.agreement import soft_auc
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


@pytest.mark.parametrize(("name", "how", "target"), [
    ("knights_knaves", ["--n", "4"], ["hard"]),
    ("number_sorting", ["--n", "8", "--find", "first-error", "--confidence", "0.8"], ["first-error"]),
])
def test_commands_lead_from_a_policy_to_a_reward_model(name: str, how: list[str], target: list[str], tmp_path: Path,
                                                       by_heart: Callable[[str], Path],
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = by_heart(name)
    policy = ["--policy", str(made / "policy"), "--device", "cpu", "--max-tokens", str(TASKS[name].max_tokens),
              "--workers", "1", "--problems", str(made / "problems.jsonl")]
    assert main(["sample", *policy, "--n", "6", "--out", "solutions.parquet"]) == 0
    assert main(["label", *policy, "--solutions", "solutions.parquet", *how, "--out", "labels"]) == 0
    rows = ["--rows", "labels/rows.parquet"]
    assert main(["judge", *rows, "--judge", "program", "--problems", str(made / "problems.jsonl"), "--out",
                 "verdicts.parquet"]) == 0
    assert main(["filter", *rows, "--consensus", "verdicts.parquet", "--distance", "1", "--confidence", "0.5",
                 "--weight", "0.2", "--out", "agreed.parquet"]) == 0
    assert 1.0 in {row.times for row in read_rows("agreed.parquet")} <= {1.0, 0.2}
    assert main(["train", "--model", str(made / "policy"), "--data", "agreed.parquet", "--target", *target, "--out",
                 "prm", "--max-steps", "60", "--learning-rate", "3e-3", "--warmup", "0.1"]) == 0
    assert main(["score", "--model", "prm", "--device", "cpu", "--rows", "verdicts.parquet", "--out",
                 "scored.parquet"]) == 0
    scored = list(read_rows("scored.parquet"))
    assert any(first_wrong(row) is None for row in scored)
    judged = [(score, label) for row in scored
              for score, label in zip(row_scores(row), row.labels or (), strict=True) if label is not None]
    assert soft_auc(*np.array(judged).T) > 0.65
