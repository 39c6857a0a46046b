"""The demo at toy size, through every real stage: it finishes, resumes, repeats itself, and says what it did."""

import dataclasses
import json
import random
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.demo import outcome, recipe
from erprm.demo.settings import DemoSettings
from erprm.demo.stages import Stages
from erprm.demo.summary import write_summary
from erprm.errors import InputError
from erprm.evaluation.pools import group_by_problem
from erprm.grading import GraderPool
from erprm.problems.tasks import TASKS
from erprm.rollouts.contrast import contrast_rows
from erprm.rows import StepRow, read_rows

pytestmark = pytest.mark.xdist_group("demo")  # the run is made once

SMALL = DemoSettings(
    teach_problems=40, demonstrations=4, hidden=64, layers=2, sft_steps=30, label_problems=6, solutions=2,
    completions=4, prm_steps=3, heldout_problems=5, pool=4, truth_problems=3, truth_completions=4, raft_samples=2,
    raft_steps=2, validation_problems=4, validation_completions=4, validation_pool=4, evaluations=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted in its fifth stage and started again."""
    folder = tmp_path_factory.mktemp("demo")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "choose_aggregations", interrupted)
        with pytest.raises(KeyboardInterrupt):
            recipe.run(folder, SMALL)
    assert "labels and pools" in json.loads((folder / "stages.json").read_text())["seconds"]
    labelled = (folder / "labels" / "rows.parquet").stat().st_mtime_ns
    assert recipe.run(folder, SMALL) == folder / "report.html"
    assert (folder / "labels" / "rows.parquet").stat().st_mtime_ns == labelled, "finished stages are not done again"
    return folder


@pytest.mark.slow
def test_results_have_what_readers_rely_on(run: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    assert {"seed", "task", "policy", "labels", "reward_models", "best_of_n", "raft", "seconds"} <= set(results)
    assert {name: found["steps"] for name, found in results["reward_models"].items()} == dict.fromkeys(
        ("orm", "soft", "hard", "er"), 3)
    table = results["best_of_n"]
    assert table["n"] == [1, 2, 4]
    for name in ("majority", "weighted_majority", "orm", "soft", "hard", "er_eta_2", "er_eta_10", "pass@n"):
        values = table[name]
        assert all(len(values[key]) == 3 for key in ("accuracy", "low", "high"))
        assert values["accuracy"][0] == pytest.approx(results["policy"]["pass@1"])
    assert set(results["raft"]) >= {"before", "after", "low", "high"}
    rows = list(read_rows(run / "labels" / "rows.parquet"))
    assert results["labels"]["prefixes"] == sum(len(row.steps) for row in rows)
    assert results["labels"]["completions"] == 4 * results["labels"]["distinct_prefixes"]
    page = (run / "report.html").read_text()
    assert "<svg" in page
    assert "http" not in page.replace("http://www.w3.org", ""), "the page stands alone"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_results(run: Path, tmp_path: Path) -> None:
    recipe.run(tmp_path, SMALL)
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (run, tmp_path))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


@pytest.mark.slow
def test_other_settings_are_refused_in_the_same_folder(run: Path) -> None:
    with pytest.raises(InputError, match=r"holds a run with seed = 0, asked for 1"):
        recipe.run(run, dataclasses.replace(SMALL, seed=1))


@pytest.mark.slow
def test_summary_averages_seeds(run: Path, tmp_path: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    accuracy = results["best_of_n"]["orm"]["accuracy"][-1]
    results["seed"], results["best_of_n"]["orm"]["accuracy"][-1] = 1, accuracy + 0.5
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "results.json").write_text(json.dumps(results))
    text = write_summary(tmp_path, [run, tmp_path / "other"]).read_text()
    assert "countdown, 2 seeds, N = 4" in text
    assert f"| orm | {accuracy + 0.25:.3f} | {accuracy:.3f} | {accuracy + 0.5:.3f} |" in text
    assert json.loads((tmp_path / "summary.json").read_text())["countdown"]["seeds"] == [0, 1]


def test_seeds_are_runs_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seed", "4", "--seeds", "2", "--out", str(tmp_path), "--dry-run"]) == 0
    plans = [line for line in capsys.readouterr().out.splitlines() if line.startswith("demo:")]
    assert [plan.split(": ", 1)[1].split(",")[1:3] for plan in plans] == [
        [f" seed {seed}", f" into {tmp_path / f'seed-{seed}'}: 1"] for seed in (4, 5)]


@pytest.mark.parametrize("name", TASKS)
def test_demonstrations_reach_the_answer_unless_they_wander(name: str) -> None:
    task = TASKS[name]
    splits = task.splits({"a": 12, "b": 5}, seed=3)
    assert not {problem.id for problem in splits["a"]} & {problem.id for problem in splits["b"]}
    rng = random.Random(0)
    with GraderPool(workers=1) as pool:
        straight = [(task.demonstrate(problem.metadata, rng, 0.0), problem) for problem in splits["a"]]
        assert all(pool.grade_many([("\n".join(steps or ()), problem) for steps, problem in straight]))
        wandering = [(task.demonstrate(problem.metadata, rng, 1.0), problem) for problem in splits["a"] * 4]
        assert not all(pool.grade_many([("\n".join(steps or ()), problem) for steps, problem in wandering]))


@pytest.mark.slow
def test_contrasts_pair_right_and_wrong_completions(run: Path) -> None:
    rows = list(read_rows(run / "labels" / "rows.parquet"))
    pairs = list(contrast_rows(run / "labels", rows, 2))
    assert [row.outcome for row in pairs] == [1.0, 0.0] * (len(pairs) // 2)
    counts = {(row.problem_id, row.steps[:end]): (row.successes or ())[end - 1] for row in rows
              for end in range(1, len(row.steps))}
    for row in pairs:
        assert row.successes is not None
        assert row.trials is not None
        for end in range(1, len(row.steps)):
            if row.trials[end - 1]:
                assert row.successes[end - 1] == counts[row.problem_id, row.steps[:end]]
    with pytest.raises(InputError, match="per_prefix"):
        next(contrast_rows(run / "labels", rows, 0))


def test_the_aggregation_is_the_one_that_serves_best_of_n() -> None:
    rows = [StepRow("q", ("a", "b"), outcome=float(right), problem_id="p", scores=scores)
            for right, scores in ((1, (0.1, 0.9)), (0, (0.9, 0.2)))]
    assert outcome.best_aggregations(group_by_problem({"orm": rows})) == {"orm": "last"}


def test_targets_are_named_by_their_eta() -> None:
    assert [target.name for target in DemoSettings(etas=(0.1, 10.0)).targets] == [
        "orm", "soft", "hard", "er_eta_0.1", "er_eta_10"]


def test_a_stage_that_fails_is_begun_again(tmp_path: Path) -> None:
    done: list[str] = []

    def failing() -> None:
        done.append("tried")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        Stages(tmp_path, {}).run("labels", [failing])
    again = Stages(tmp_path, {})
    again.run("labels", [lambda: done.append("done")])
    Stages(tmp_path, {}).run("labels", [lambda: done.append("twice")])
    assert done == ["tried", "done"]
