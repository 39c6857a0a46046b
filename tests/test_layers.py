"""Imports run one way: a module imports from its own layer and from lower ones only; no files import in a circle."""

import ast
import graphlib
from pathlib import Path

import erprm

ROOT = Path(erprm.__file__).parent
LAYERS = [
    {"errors", "options", "terminal", "files", "devices"},
    {"kernels", "_core"},
    {"steps", "splitters", "rows", "tokenizers", "loading", "problems", "values", "statistics", "grading"},
    {"engines"},
    {"rollouts"},
    {"formats"},
    {"selection", "prm", "judging"},
    {"policy", "evaluation", "serving"},
    {"demo", "study", "cli", "__main__"},  # the demo runs commands, one command runs the demo
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


def _module(path: Path) -> str:
    parts = ("erprm", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _files_imported(path: Path, modules: set[str]) -> set[str]:
    """The modules of erprm that a file imports, wherever in the file; its own package's __init__ for names of that."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if submodule in modules else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules


def test_no_files_import_in_a_circle() -> None:
    files = {_module(path): path for path in ROOT.rglob("*.py")}
    graph = {name: _files_imported(path, set(files)) for name, path in files.items()}
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        raise AssertionError("a circle of imports: " + " <- ".join(error.args[1])) from None


def test_every_part_has_a_layer() -> None:
    parts = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert parts - {"__init__"} <= set(LEVEL)


def test_no_run_of_more_than_six_lines_stands_twice() -> None:
    """Imports aside, which each file needs for itself."""
    places: dict[tuple[str, ...], str] = {}
    found = []
    for path in sorted(path for name in ("erprm", "kernels", "bench", "tests")
                       for path in (ROOT.parent / name).rglob("*.py") if "erprm/kernels" not in str(path)):
        text = path.read_text(encoding="utf-8")
        imports = {number for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)
                   for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)
                 if line.strip() and number not in imports]
        for start in range(len(lines) - 6):
            run = tuple(line for _, line in lines[start:start + 7])
            place = f"{path.relative_to(ROOT.parent)}:{lines[start][0]}"
            if run in places:
                found.append(f"{places[run]} and {place}: {run[0]}")
            places[run] = place
    assert not found, "\n".join(found)
