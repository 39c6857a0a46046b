"""Every recipe is understood by every command it has a section for, and says beforehand what it would do."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from erprm.cli import main, module_of

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
ROW = {"prompt": "1+1?", "steps": ["1+1=2", "The answer is 2"], "successes": [3, 1], "trials": [4, 1], "outcome": 1.0,
       "problem_id": "a"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_dry_run(recipe: Path, tmp_path: Path, model_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems, rows = tmp_path / "problems.jsonl", tmp_path / "rows.jsonl"
    problems.write_text(json.dumps({"id": "a", "question": "1+1?", "answer": "2"}) + "\n")
    rows.write_text(json.dumps(ROW) + "\n")
    here = {"sample": ["--problems", str(problems)],
            "label": ["--problems", str(problems), "--solutions", str(rows)],
            "dpo": ["--solutions", str(rows)], "grpo": ["--problems", str(problems)],
            "raft": ["--problems", str(problems), "--heldout", str(problems)],
            "search-bench": ["--problems", str(problems)], "study": ["--out", str(tmp_path / "study")],
            "train": ["--data", str(rows), "--model", str(model_dir), "--no-bf16", "--no-fsdp"], "demo": []}
    sections = yaml.safe_load(recipe.read_text())
    shown = {}
    for command in here.keys() & sections.keys():
        assert main([command, "--config", str(recipe), "--dry-run", *here[command]]) == 0, capsys.readouterr().err
        shown[command] = capsys.readouterr().out
    assert shown
    if "label" in shown:
        assert "16" in shown["label"], "one prefix, sixteen completions"
        assert "1 problems" in shown["sample"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [problems, rows]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_option_is_known(recipe: Path) -> None:
    for command, options in yaml.safe_load(recipe.read_text()).items():
        known = {field.name for field in dataclasses.fields(module_of(command).Config)}
        assert set(options) <= known
