"""A real `erprm label` process, killed (SIGKILL) at 30 random moments and started again each time."""

import os
import random
import select
import signal
from pathlib import Path

import pytest
from attack.kill import Nursery

from erprm.problems import Problem, write_problems
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows, write_rows

KILLS, N = 30, 9  # a prefix is a part: 300 parts
TREE = [("a", "b", "c"), ("a", "b", "d"), ("a", "e"), ("f",)]  # two unfinished prefixes a problem: a, a b


def texts(store: Path) -> dict[tuple[str, int], str]:
    """All committed completions; a sample that was committed twice fails here."""
    if not (store / "manifest.json").exists():
        return {}
    found: dict[tuple[str, int], str] = {}
    for table in read_parts(store, ["prefix_id", "sample", "text"]):
        for record in table.to_pylist():
            key = record["prefix_id"], record["sample"]
            assert key not in found
            found[key] = record["text"]
    return found


def ended_before(process: int, parts: Path, more: int, milliseconds: float) -> bool:
    """Wait until `more` parts were added and then some milliseconds; True when the process ended earlier."""
    handle = os.pidfd_open(process)
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        enough = count(parts) + more
        while count(parts) < enough:
            if poll.poll(2):
                return True
        return bool(poll.poll(milliseconds))
    finally:
        os.close(handle)


def count(parts: Path) -> int:
    return sum(name.endswith(".parquet") for name in os.listdir(parts)) if parts.exists() else 0


@pytest.mark.slow
def test_nothing_is_lost_or_counted_twice(model_dir: Path, tmp_path: Path) -> None:
    problems = [Problem(id=f"p{i}", question=f"{i}+1?", answer=str(i + 1), grader="numeric") for i in range(150)]
    write_problems(tmp_path / "problems.jsonl", problems)
    write_rows(tmp_path / "rows.jsonl", [
        StepRow(prompt=problem.question, steps=steps, outcome=0.0, problem_id=problem.id)
        for problem in problems for steps in TREE])
    store = tmp_path / "labels"
    argv = ["label", "--problems", str(tmp_path / "problems.jsonl"), "--solutions", str(tmp_path / "rows.jsonl"),
            "--policy", str(model_dir), "--device", "cpu", "--max-tokens", "4", "--n", str(N), "--workers", "1",
            "--part-completions", "9", "--out", str(store)]
    chance = random.Random(5)
    killed, committed = 0, {}
    with Nursery(tmp_path / "log") as nursery:
        while killed < KILLS:
            process = nursery.start(argv)
            assert not ended_before(process, store / "parts", chance.choice((0, 1, 1)), chance.uniform(0, 15)), \
                (tmp_path / "log").read_text()
            os.kill(process, signal.SIGKILL)
            assert nursery.status() == -signal.SIGKILL
            killed += 1
            now = texts(store)
            assert committed.items() <= now.items()
            committed = now
        nursery.start(argv)
        assert nursery.status() == 0, (tmp_path / "log").read_text()
    assert killed == KILLS
    final = texts(store)
    assert committed.items() <= final.items()
    prefixes = {prefix for prefix, _ in final}
    assert len(prefixes) == 2 * len(problems)
    assert set(final) == {(prefix, sample) for prefix in prefixes for sample in range(N)}
    for row in read_rows(store / "rows.parquet"):
        assert row.trials == (N,) * (len(row.steps) - 1) + (1,)
