"""Options from recipes and flags, and errors of one line with exit code 2."""

from pathlib import Path

import pytest

from erprm.cli import COMMANDS, main


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a refused command prints."""
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert f"erprm {command}" in text.split("options:")[0].split("\n\n", 1)[1], "an example before the options"
    assert "--config" in text


def test_flags_override_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("demo:\n  seed: 3\n  prm_steps: 17\n")
    assert main(["demo", "--config", str(recipe), "--seed", "4", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "seed 4" in shown
    assert "17 steps" in shown


@pytest.mark.parametrize(("text", "words"), [
    ("demo:\n  prm_step: 1\n", "unknown option 'prm_step' for demo; did you mean 'prm_steps'?"),
    ("demmo:\n  seed: 1\n", "unknown section 'demmo'; did you mean 'demo'?"),
    ("demo:\n  seed: many\n", "seed: expected int, found 'many'"),
    ("demo:\n  task: chess\n", "task: expected one of countdown, graph_color, found 'chess'"),
    ("demo: [", "not valid YAML"),
    ("- 1\n", "expected options as 'name: value', found list"),
    ("label:\n  n: 1\n", "no section 'demo'"),
])
def test_a_wrong_recipe_is_refused(text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(text)
    assert words in fails(capsys, "demo", "--config", str(recipe), "--dry-run")


def test_unknown_command_and_missing_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'label'?" in fails(capsys, "labell")
    assert "no such recipe" in fails(capsys, "demo", "--config", "nowhere.yaml")


def test_a_required_option_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--policy is required" in fails(capsys, "sample", "--problems", "p.jsonl", "--out", "o.parquet")
