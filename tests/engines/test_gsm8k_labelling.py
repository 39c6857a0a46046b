"""`erprm label` on 200 problems of GSM8K with their reference solutions: each engine, killed at work and resumed."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from attack.kill import Nursery
from rollouts.test_killed import ended_before, texts

from erprm.engines.vllm_process import cpu_environment
from erprm.problems import load_problems
from erprm.rows import read_rows
from erprm.steps import split_steps

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("vllm")]

PROBLEMS, N = 200, 2


@pytest.mark.parametrize("engine", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_killed_run_is_resumed(engine: str, data: Path, model_dir: Path, tmp_path: Path) -> None:
    source, store = f"gsm8k:{data / 'gsm8k' / 'train.jsonl'}", tmp_path / "labels"
    argv = ["label", "--problems", source, "--limit", str(PROBLEMS), "--policy", str(model_dir), "--engine", engine,
            "--n", str(N), "--max-tokens", "8", "--workers", "1", "--part-completions", "128", "--out", str(store)]
    with Nursery(tmp_path / "log", *(("vllm",) if engine == "vllm" else ()), **cpu_environment(1)) as nursery:
        process = nursery.start(argv)
        assert not ended_before(process, store / "parts", 3, 0), (tmp_path / "log").read_text()
        os.kill(process, signal.SIGKILL)
        assert nursery.status() == -signal.SIGKILL
        committed = texts(store)
        nursery.start(argv)
        assert nursery.status() == 0, (tmp_path / "log").read_text()
    final = texts(store)
    assert 3 * 128 <= len(committed) < len(final)
    assert committed.items() <= final.items()
    solutions = [split_steps(problem.solution or "") for problem in load_problems(source)[:PROBLEMS]]
    per_prefix = Counter(prefix for prefix, _ in final)
    assert len(per_prefix) == sum(len(steps) - 1 for steps in solutions)  # the last step has its outcome
    assert set(per_prefix.values()) == {N}
    rows = list(read_rows(store / "rows.parquet"))
    assert [row.trials for row in rows] == [(N,) * (len(steps) - 1) + (1,) for steps in solutions]
    assert all(row.outcome == 1.0 for row in rows)
