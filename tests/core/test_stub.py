"""erprm/_core.pyi names what the module has, with the same arguments, or callers are checked against fiction."""

import ast
import re
from pathlib import Path

import erprm
from erprm import _core


def _stub(body: list[ast.stmt]) -> dict[str, list[str]]:
    return {item.name: [argument.arg for argument in item.args.args if argument.arg != "self"]
            for item in body if isinstance(item, ast.FunctionDef) and item.name != "__init__"}


def _module(owner: object, dunder: tuple[str, ...] = ()) -> dict[str, list[str]]:
    found = {}
    for name in dir(owner):
        if callable(getattr(owner, name)) and not isinstance(getattr(owner, name), type) and \
                (not name.startswith("_") or name in dunder):
            signature = (getattr(owner, name).__doc__ or "").splitlines()[0].split(" -> ")[0]
            found[name] = [a for a in re.findall(r"[(,]\s*(\w+):", signature) if a not in ("self", "arg0")]
    return found


def test_stub_matches_module() -> None:
    tree = ast.parse((Path(erprm.__file__).parent / "_core.pyi").read_text())
    ledger = next(item for item in tree.body if isinstance(item, ast.ClassDef) and item.name == "Ledger")
    assert _stub(tree.body) == _module(_core)
    assert _stub(ledger.body) == _module(_core.Ledger, ("__len__",))
