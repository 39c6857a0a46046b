"""The study: its table and its cells, what is read out of them, and the whole in miniature, killed and gone on with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from erprm.cli import main
from erprm.demo.recipe import Lab
from erprm.demo.settings import SMOKE
from erprm.errors import InputError
from erprm.files.json_files import read_record, write_record
from erprm.rows import read_rows
from erprm.study import run as study
from erprm.study.analysis import shares, summarise
from erprm.study.cells import Cell, Column, Learnt, Result, read_cell, read_cells, write_cell
from erprm.study.label_sets import LABEL_SETS, training_rows
from erprm.study.page import sections

NS = (1, 2, 4)


def cells(effect: float, policies: int = 6, seeds: int = 3, problems: int = 200, sd_policy: float = 0.08,
          sd_prm: float = 0.03, seed: int = 0) -> list[Result]:
    """Accuracies with known parts: policies, reward models, problems, and what "er/2" adds to "soft"."""
    random = np.random.default_rng(seed)
    found = []
    for policy in range(policies):
        level = 0.5 + sd_policy * random.standard_normal()
        easiness = 0.1 * random.standard_normal(problems)
        for target, more in (("soft", 0.0), ("er", effect)):
            for prm in range(seeds):
                values = level + more + sd_prm * random.standard_normal() + easiness
                column = Column("min", NS, (0.3, 0.4, float(values.mean())), values, (1, 8), values[:3, None] ** [1, 2],
                                {"brier": 0.2, "ece": 0.1})
                name = "er/2" if target == "er" else target
                found.append(Result(Cell("countdown", policy, target, prm), {name: column}, [(1, 0.5), (2, 0.7)],
                                    {"seconds": 1.0, "steps": 2.0, "label_tokens": 1e6}, {"pass@1": 0.3}))
    return found


@pytest.mark.parametrize(("text", "options"), [
    ("soft", {"target": "soft"}), ("er", {"target": "er", "eta": (0.5, 2.0), "estimator": "plug-in"}),
    ("er@10+half", {"target": "er", "eta": 10.0, "estimator": "plug-in"}), ("outcome+outcomes", {"target": "outcome"}),
    ("er@2:empirical-bayes", {"target": "er", "eta": 2.0, "estimator": "empirical-bayes"})])
def test_a_target_is_a_text(text: str, options: dict[str, object]) -> None:
    assert Learnt.of(text).options((0.5, 2.0)) == options


@pytest.mark.parametrize("text", ["", "er@two", "sof", "er@2:bayes", "soft+most", "soft+"])
def test_no_target(text: str) -> None:
    with pytest.raises(InputError, match="targets: expected"):
        Learnt.of(text)


def test_the_parts_of_the_variance_are_found_again() -> None:
    values: dict[int, list[np.ndarray]] = {}
    for result in cells(0.0, 400, 4, 50):
        if result.cell.target == "soft":
            values.setdefault(result.cell.policy_seed, []).append(result.columns["soft"].by_problem)
    parts = shares({policy: np.stack(found) for policy, found in values.items()})
    assert parts.policy == pytest.approx(0.08, rel=0.1)
    assert parts.prm == pytest.approx(0.03, rel=0.1)
    assert parts.problems == pytest.approx(0.1 / 50**0.5, rel=0.1)


def test_intervals_over_seeds_hold_the_truth_as_often_as_they_say() -> None:
    held = [row.low <= 0.02 <= row.high for seed in range(30)
            for row in [summarise(cells(0.02, 12, 2, 10, seed=seed))["countdown"].rewards["er/2"]]]
    assert 0.85 <= np.mean(held) <= 1.0  # too narrow by a twelfth of the variance, as a bootstrap over 12 is


def test_an_effect_is_seen_and_none_is_not() -> None:
    seen = summarise(cells(0.06))["countdown"].rewards["er/2"]
    assert seen.p < 0.01
    assert seen.low > 0
    assert seen.difference == pytest.approx(0.06, abs=0.03)
    assert seen.of_seeds[1] - seen.of_seeds[0] > seen.of_problems[1] - seen.of_problems[0]
    reference = summarise(cells(0.06))["countdown"].rewards["soft"]
    assert (reference.difference, reference.p) == (0.0, 1.0)


def test_over_optimisation_is_told_with_its_noise() -> None:
    """Of many candidates on few problems: one reward falls behind its peak, the other does not."""
    random = np.random.default_rng(0)
    found = []
    for result in cells(0.0, 3, 2, 40):
        (name, column), = result.columns.items()
        curve = np.array([0.2, 0.6, 0.4] if name == "soft" else [0.2, 0.4, 0.6])
        wide = np.clip(curve + 0.1 * random.standard_normal((40, 3)), 0, 1)
        found.append(replace(result, columns={name: replace(column, wide_ns=(1, 32, 1024), wide=wide)}))
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")
            for line in sections(summarise(found)["countdown"])["over-optimisation"]}
    np.testing.assert_allclose(list(map(float, rows["soft"][1:4])), [20, 60, 40], atol=3)
    assert rows["soft"][4].endswith("behind N = 32")
    assert float(rows["soft"][6].strip(" |")) < 0.01
    assert rows["er/2"][4] == "none"
    assert rows["*KL, nats*"][3] == f"{np.log(1024) - 1023 / 1024:.2f}"


def test_time_to_equal_accuracy() -> None:
    """The level is where the worse target ends, 0.7; the better one is there after one of its four evaluations."""
    def trained(target: str, curve: list[float], seconds: float) -> Result:
        one = cells(0.0, 1, 1, 5)[0]
        return replace(one, cell=Cell("countdown", 0, target, 0), columns={target: one.columns["soft"]},
                       curve=[(10 * number, value) for number, value in enumerate(curve, start=1)],
                       training={"steps": 40.0, "seconds": seconds, "label_tokens": 1e6, "eval_step_auc": curve[-1]})
    table = summarise([trained("soft", [0.75, 0.8, 0.8, 0.9], 100.0), trained("hard", [0.5, 0.5, 0.6, 0.7], 60.0)])
    head, _, *rows = (line.strip("| ").split(" | ") for line in sections(table["countdown"])["training"])
    assert head[-1] == "seconds to 0.700"
    assert {row[0]: row[-1] for row in rows} == {"soft": "25 (1 of 1)", "hard": "60 (1 of 1)"}


def test_a_cell_comes_back_from_its_file(tmp_path: Path) -> None:
    result = cells(0.0, 1, 1, 5)[0]
    write_cell(result.cell.path(tmp_path), result, {"settings": {"pool": 4}, "commit": "abc"})
    found, settings = read_cell(tmp_path / "countdown" / "policy-0" / "soft" / "prm-0.json")
    assert (found.cell, found.curve, settings) == (result.cell, [(1, 0.5), (2, 0.7)], {"pool": 4})
    np.testing.assert_allclose(found.columns["soft"].by_problem, result.columns["soft"].by_problem, atol=1e-6)
    (tmp_path / "countdown" / "policy-0" / "soft" / "prm-1.json").write_text('{"task": "countdown"}')
    with pytest.raises(InputError, match=r"prm-1.json: not a cell of a study"):
        read_cells(tmp_path)
    with pytest.raises(InputError, match="expected cells of a study"):
        read_cells(tmp_path / "nothing")


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reference: countdown: expected one of soft, er/2, found 'hard'"):
        summarise(cells(0.0, 2, 1, 5), "hard")
    with pytest.raises(InputError, match="only: expected a pattern that matches a cell such as"):
        study.run(tmp_path, study.StudySettings(), ("sudoku/*",))


def test_the_table_is_shown_without_doing_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["study", "--out", str(tmp_path), "--dry-run", "--policy-seeds", "0", "1", "--targets", "soft", "er@2"]
    assert main([*arguments, "--only", "*/er@2/*"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"countdown/policy-{policy}/er@2/prm-{prm}: to do" for policy in (0, 1) for prm in (0, 1)]
    assert main([*arguments, "--tasks", "sudoku"]) == 2
    assert main([*arguments, "--etas", "2", "2"]) == 2
    assert "etas: expected different values" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_in_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:
    done: list[str] = []
    do = study._do

    def interrupted(cell: Cell, *rest: object) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        do(cell, *rest)  # type: ignore[arg-type]
        done.append(cell.name)

    monkeypatch.setattr(study, "_do", interrupted)
    assert main(["study", "--smoke", "--out", str(tmp_path)]) == 130
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").rglob("*.json")}
    assert len(before) == 2
    monkeypatch.setattr(study, "_do", lambda cell, *rest: (done.append(cell.name), do(cell, *rest)))
    assert main(["study", "--smoke", "--out", str(tmp_path)]) == 0
    assert len(done) == len(set(done)) == 4, "no cell is lost and none is done twice"
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(tmp_path.rglob("work/**/model"))
    found = read_cells(tmp_path / "cells")
    assert {name for result in found for name in result.columns} == {"soft", "er/0.5", "er/2"}
    _label_sets(Lab(tmp_path / "work" / "countdown" / "policy-0", replace(SMOKE, seed=0)))
    page = (tmp_path / "summary.md").read_text()
    for row in summarise(found)["countdown"].rewards.values():
        assert f"| {100 * row.accuracy[-1]:.1f} |" in page
    path = next(iter(before))
    record = read_record(path, "remove it")
    assert record["curve"]
    record["settings"]["pool"] = 5
    write_record(path, record)
    capsys.readouterr()
    assert main(["study", "--smoke", "--out", str(tmp_path)]) == 2
    assert "done with pool = 5, asked for 4; give another --out, or remove the cell" in capsys.readouterr().err


def _label_sets(lab: Lab) -> None:
    """What each holds and costs, by the rows that were labelled."""
    found = {name: training_rows(lab, name) for name in LABEL_SETS}
    rows = {name: list(read_rows(path)) for name, (path, _) in found.items()}
    tokens = {name: cost for name, (_, cost) in found.items()}
    problems = {name: {row.problem_id for row in part} for name, part in rows.items()}
    assert problems["quarter"] < problems["half"] < problems["all"] == problems["outcomes"]
    assert tokens["quarter"] < tokens["half"] < tokens["all"] == tokens["agreed"]
    assert tokens["outcomes"] == pytest.approx(tokens["all"], rel=0.2)  # whole solutions, each of its own length
    assert not any(row.trials for row in rows["outcomes"])
    assert {row.solution_id for row in rows["agreed"]} <= {row.solution_id for row in rows["all"]}
