"""Policies that know a few puzzles by heart, for what follows their solutions from sampling to a reward model."""

import functools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.demo.policy import write_untrained
from erprm.problems import write_problems
from erprm.problems.tasks import TASKS
from erprm.rows import StepRow, write_rows


@pytest.fixture(scope="session")
def by_heart(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of a task a folder with problems.jsonl and policy/, which solves them mostly and strays as it was shown to.

    Made once a session. Do not write into it.
    """
    def make(name: str) -> Path:
        task, folder, draw = TASKS[name], tmp_path_factory.mktemp(name), random.Random(3)
        problems = task.splits({"all": 4}, 2)["all"]
        shown = [StepRow(problem.question, tuple(task.demonstrate(problem.metadata, draw, wandering) or ()),
                         problem_id=problem.id) for problem in problems for wandering in (0.0, 0.0, 0.9)]
        write_problems(folder / "problems.jsonl", problems)
        write_rows(folder / "shown.jsonl", shown)
        write_untrained(folder / "untrained", task, 0, 64, 2)
        assert main(["sft", "--model", str(folder / "untrained"), "--data", str(folder / "shown.jsonl"), "--out",
                     str(folder / "policy"), "--max-steps", "120", "--learning-rate", "1e-2", "--batch-size", "12",
                     "--warmup-steps", "5"]) == 0
        return folder

    return functools.cache(make)
