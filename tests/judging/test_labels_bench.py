"""`bench/labels.py` and `bench/label_costs.py` in miniature, and the values by problem that intervals are of."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from erprm.cli import main
from erprm.demo.settings import DemoSettings
from erprm.evaluation.processbench import evaluate_processbench
from erprm.judging.verdicts import verdict_row
from erprm.problems.tasks import TASKS
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows
from erprm.statistics.agreement import soft_auc

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import label_costs
import labels

PROBLEM = np.repeat(np.arange(40), 6)


def judged() -> tuple[list[np.ndarray], list[int | None]]:
    """Scores and first wrong steps of 240 solutions to 40 problems, which differ in what their scores are worth."""
    draw = np.random.default_rng(0)
    skill = draw.uniform(0, 2, 40)
    scores, wrong = [], []
    for problem in PROBLEM:
        length = int(draw.integers(2, 6))
        first = int(draw.integers(0, length)) if draw.random() < 0.6 else None
        right = np.arange(length) < (length if first is None else first)
        scores.append(np.round(1 / (1 + np.exp(-draw.normal(size=length) - skill[problem] * (2 * right - 1))), 2))
        wrong.append(first)
    return scores, wrong


def figure(name: str, scores: list[np.ndarray], wrong: list[int | None]) -> float:
    """The AUC or F1 itself."""
    if name == "f1":
        rows = [verdict_row(StepRow("q", ("s",) * len(given)), first) for given, first in
                zip(scores, wrong, strict=True)]
        return evaluate_processbench(rows, scores, 0.4).f1
    pairs = [(score, float(first is None or step < first)) for given, first in zip(scores, wrong, strict=True)
             for step, score in enumerate(given) if first is None or step <= first]
    return soft_auc(*np.array(pairs).T)


@pytest.mark.parametrize(("name", "by_problem"), [
    ("auc", lambda scores, wrong: labels.auc_by_problem(scores, wrong, PROBLEM)),
    ("f1", lambda scores, wrong: labels.f1_by_problem(scores, wrong, PROBLEM, 0.4))])
def test_values_by_problem_have_the_figure_as_mean_and_move_it_as_their_problems_do(
        name: str, by_problem: Callable[..., np.ndarray]) -> None:
    scores, wrong = judged()
    values = by_problem(scores, wrong)
    whole = figure(name, scores, wrong)
    assert values.mean() == pytest.approx(whole, abs=1e-12)
    rest = [np.flatnonzero(problem != PROBLEM) for problem in range(40)]
    jackknife = whole - np.array([figure(name, [scores[i] for i in kept], [wrong[i] for i in kept]) for kept in rest])
    np.testing.assert_allclose((values - whole) / 39, jackknife, atol=0.15 * np.abs(jackknife).max())


def test_labels_are_held_against_the_checkers_verdicts() -> None:
    rows = [StepRow("q", ("a", "b", "c"), successes=(4, 1, 0), trials=(4, 4, 4), outcome=0.0),
            StepRow("q", ("a", "b"), successes=(1, 1), trials=(4, 1), outcome=1.0)]
    found = labels.label_errors(rows, labels.spec_of("soft"), lambda row: 1 if len(row.steps) == 3 else None)
    assert found == {"rows": 2, "steps": 4, "wrong_share": 0.25, "right_steps_called_wrong": pytest.approx(1 / 3),
                     "wrong_steps_called_right": 0.0}
    assert labels.label_errors(rows, labels.spec_of("hard"), lambda row: 1)["wrong_steps_called_right"] == 1.0


@pytest.fixture(scope="module")
def demo(by_heart: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script reads of a finished demo, by commands: number_sorting, four problems in every set."""
    made, folder, task = by_heart("number_sorting"), tmp_path_factory.mktemp("demo"), TASKS["number_sorting"]
    (folder / "models").mkdir()
    (folder / "models" / "policy").symlink_to(made / "policy")
    (folder / "problems").mkdir()
    policy = ["--policy", str(made / "policy"), "--max-tokens", str(task.max_tokens), "--workers", "1", "--seed", "0"]
    for split, pool, n in (("label", "solutions", 4), ("validation", "validation", 4), ("heldout", "pool", 4)):
        (folder / "problems" / f"{split}.jsonl").symlink_to(made / "problems.jsonl")
        assert main(["sample", *policy, "--problems", str(folder / "problems" / f"{split}.jsonl"), "--n", str(n),
                     "--out", str(folder / f"{pool}.parquet")]) == 0
    for split, solutions, out in (("label", "solutions", "labels"), ("validation", "validation", "validation-labels")):
        assert main(["label", *policy, "--problems", str(folder / "problems" / f"{split}.jsonl"), "--solutions",
                     str(folder / f"{solutions}.parquet"), "--n", "4", "--splitter", "newline", "--out",
                     str(folder / out)]) == 0
    settings = replace(DemoSettings(), task="number_sorting", completions=4, prm_batch=8, prm_learning_rate=3e-3)
    (folder / "stages.json").write_text(json.dumps({"settings": asdict(settings), "seconds": {}}))
    return folder


def test_the_script_trains_each_cell_once_and_writes_its_tables(demo: Path, tmp_path: Path) -> None:
    words = ["--demo", str(demo), "--out", str(tmp_path / "out"), "--output", str(tmp_path / "r.json"),
             "--kinds", "hard", "first-error", "--designs", "rows", "--seeds", "0", "--steps", "4", "--evaluations",
             "1", "--confidence", "0.6"]
    labels.main(words)
    cells = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("prm-*.json")}
    assert len(cells) == 4
    result = json.loads((tmp_path / "r.json").read_text())
    assert set(result["labels"]) == {"hard all", "hard agreed", "first-error all", "first-error agreed"}
    arms = result["equal rows"]["arms"]
    assert len({arm["rows"][0] for arm in arms.values()}) == 1
    assert all(0 <= arm[metric]["mean"] <= 1 for arm in arms.values() for metric in labels.METRICS)
    assert {(one["first"], one["second"]) for one in result["equal rows"]["comparisons"]} == {
        ("hard agreed", "hard all"), ("first-error all", "hard all"), ("first-error agreed", "hard all"),
        ("first-error agreed", "first-error all")}
    assert result["environment"]["versions"]["torch"]
    labels.main(words)
    assert {path: path.stat().st_mtime_ns for path in cells} == cells
    dear = labels.Bench(demo, tmp_path / "out" / "0", labels.options([*words, "--designs", "tokens"]))
    bought = labels.training_rows(dear)
    spent = {way: sum(dear.tokens(way).values()) for way in (labels.FIXED, labels.BISECTED)}
    assert spent["first-error"] < spent["fixed"]
    assert len(bought["tokens", "hard", "all"]) < len(bought["tokens", "first-error", "all"]) == 16


def test_costs_are_those_of_the_stores(demo: Path, tmp_path: Path) -> None:
    words = ["--demo", str(demo), "--out", str(tmp_path / "out"), "--output", str(tmp_path / "r.json"),
             "--problems", "3", "--rmse", "0.2", "--confidence", "0.6"]
    label_costs.main(words)
    result = json.loads((tmp_path / "r.json").read_text())
    assert len(result["ways"]) == 7
    solutions, steps = 12, result["ways"]["fixed"]["steps"]
    assert result["ways"]["language model as judge, assumed"]["tokens_at_most_per_100000_steps"] == pytest.approx(
        solutions * 1024 / steps * 1e5, abs=1)
    for name in ("fixed", "rmse", "first-error"):
        steps = sum(len(row.steps) for row in read_rows(tmp_path / "out" / name / "rows.parquet"))
        tokens = sum(sum(table["tokens"].to_pylist()) for table in read_parts(tmp_path / "out" / name))
        entry = result["ways"][name]
        assert entry["tokens_per_100000_steps"] == pytest.approx(tokens / steps * 1e5, abs=0.06)
        assert entry["engine_seconds_per_100000_steps"] > 0
        assert result["ways"][f"{name}, confirmed by the checker"]["tokens_per_100000_steps"] >= entry[
            "tokens_per_100000_steps"]
    assert result["ways"]["first-error"]["completions_per_100000_steps"] < result["ways"]["fixed"][
        "completions_per_100000_steps"]
    assert result["assumed"]["measured"] is False
    label_costs.main(words)
    assert json.loads((tmp_path / "r.json").read_text())["ways"]["fixed"] == result["ways"]["fixed"]
