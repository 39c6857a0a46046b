"""Every choice stands in one registry, says what it is, and is taken by the command that offers it."""

import ast
import dataclasses
import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest

import erprm
from erprm.cli import COMMANDS, config, main, module_of
from erprm.grading.graders import GRADERS, grader_of
from erprm.problems import SOURCES

ROOT = Path(erprm.__file__).parent
# Where the command line takes the names of a registry: command and option. Empty: nowhere as an option.
TAKEN: dict[str, tuple[str, str] | tuple[()]] = {
    "erprm.cli.judge.JUDGES": ("judge", "judge"),
    "erprm.engines.ENGINES": ("sample", "engine"),
    "erprm.formats.FORMATS": ("convert", "from"),
    "erprm.grading.alphabets.ANSWERS": (),  # not chosen by name
    "erprm.grading.graders.GRADERS": (),
    "erprm.policy.crediting.CREDITS": (),
    "erprm.prm.checkpoints.known.FORMS": ("score", "form"),
    "erprm.prm.scoring.engines.ENGINES": ("score", "engine"),
    "erprm.prm.spec.LOSSES": ("train", "loss"),
    "erprm.problems.sources.SOURCES": (),
    "erprm.problems.tasks.TASKS": (),
    "erprm.selection.aggregate.AGGREGATIONS": ("evaluate", "aggregate"),
    "erprm.selection.methods.METHODS": ("guide", "method"),
    "erprm.splitters.SPLITTERS": ("sample", "splitter"),
    "erprm.values.estimators.ESTIMATORS": ("train", "estimator"),
    "erprm.values.kinds.KINDS": ("train", "target"),
}


def registries() -> dict[str, Mapping[str, Any]]:
    """The public constants of all modules that are dictionaries from names to dataclasses."""
    found = {}
    for path in ROOT.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            target = node.target if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [None])[0]
            if isinstance(target, ast.Name) and target.id.isupper() and isinstance(node.value, ast.Dict | ast.DictComp):
                module = ".".join(("erprm", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
                values = getattr(importlib.import_module(module), target.id)
                if target.id[0] != "_" and all(map(dataclasses.is_dataclass, values.values())):
                    found[f"{module}.{target.id}"] = values
    return found


def test_every_registry_says_what_its_entries_are() -> None:
    found = registries()
    assert found.keys() == TAKEN.keys()
    for registry, entries in found.items():
        for name, entry in entries.items():
            assert entry.__dataclass_params__.frozen, f"{registry}: {name}"
            if TAKEN[registry]:
                assert entry.help.strip(), f"{registry}: {name} has no help line"
                assert "\n" not in entry.help


@pytest.mark.parametrize("registry", [registry for registry, place in TAKEN.items() if place])
def test_the_command_line_takes_and_explains_every_name(registry: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, option = TAKEN[registry]  # type: ignore[misc]
    kind = module_of(command).Config
    required = {item.name.rstrip("_"): (item.metadata["choices"] or ["x"])[0] for item in dataclasses.fields(kind)
                if item.metadata.get("required")}
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = "".join(capsys.readouterr().out.split())
    for name, entry in registries()[registry].items():
        parser = config.Parser(allow_abbrev=False)
        config.add_arguments(parser, kind)
        asked = [text for flag, value in (required | {option: name}).items() for text in (f"--{flag}", value)]
        given = config.parse(parser, asked)
        read = config.load(kind, command, given, None, COMMANDS)
        assert name in (getattr(read, option, None), getattr(read, f"{option}_", None))
        assert "".join(entry.help.split()) in shown, f"--{option} {name} is not explained"


def test_every_source_of_problems_is_read_by_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gsm8k.jsonl").write_text(json.dumps({"question": "1+1?", "answer": "1+1=2\n#### 2"}) + "\n")
    (tmp_path / "math.jsonl").write_text(json.dumps({"problem": "1+1?", "solution": "2", "answer": "2"}) + "\n")
    datasets.Dataset.from_list([{"question": "1+1?", "answer": "2"}]).save_to_disk(tmp_path / "saved")
    asked = {"gsm8k": f"gsm8k:{tmp_path}/gsm8k.jsonl", "math": f"math:{tmp_path}/math.jsonl",
             "reasoning-gym": "reasoning-gym:countdown?size=1", "datasets": f"datasets:{tmp_path}/saved"}
    assert asked.keys() == SOURCES.keys()
    for source in asked.values():
        assert main(["sample", "--problems", source, "--policy", "p", "--out", "s.jsonl", "--dry-run"]) == 0
        assert "1 problems" in capsys.readouterr().out


def test_every_grader_is_found_by_the_name_that_help_shows() -> None:
    for family, grader in GRADERS.items():
        assert grader_of(":".join((family, *grader.needs))) is grader


def test_help_imports_no_torch() -> None:
    code = """
import sys, contextlib, io
from erprm.cli import COMMANDS, main
for command in COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main([command, "--help"])
    assert f"usage: erprm {command}" in said.getvalue(), command
    heavy = {"torch", "transformers", "vllm", "ray"} & set(sys.modules)
    assert not heavy, (command, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
