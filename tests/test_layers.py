"""Imports run one way: a module may import from its own layer and from lower ones only."""

import ast
from pathlib import Path

import erprm

ROOT = Path(erprm.__file__).parent
LAYERS = [
    {"errors", "options", "files"},
    {"kernels", "_core"},
    {"steps", "rows", "tokenizers", "problems", "values", "statistics", "grading"},
    {"engines"},
    {"rollouts"},
    {"formats"},
    {"selection", "prm", "judging"},
    {"policy", "evaluation"},
    {"demo"},
    {"cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    """Second-level names of everything of erprm that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            parts = node.module.split(".")
            if parts[0] == "erprm":
                found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("erprm.")}
    return found


def test_imports_run_one_way() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        layer = path.relative_to(ROOT).with_suffix("").parts[0]
        if layer == "__init__":
            continue
        wrong += [f"{path.relative_to(ROOT)} imports erprm.{name}" for name in imported(path)
                  if name in LEVEL and LEVEL[name] > LEVEL[layer]]
    assert not wrong, "\n".join(wrong)


def test_every_part_has_a_layer() -> None:
    parts = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert parts - {"__init__"} <= set(LEVEL)
