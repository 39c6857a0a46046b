"""The ledger and its like in plain Python under pytest-benchmark: `pytest bench --benchmark-only`.

Small and quick, for a developer's before and after; `bench/ledger.py` writes the result file.
"""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark")

from ledger import run
from ledger_python import PythonLedger

from erprm._core import Ledger


@pytest.mark.parametrize(("make", "as_lists"), [(Ledger, False), (PythonLedger, True)], ids=["erprm", "plain Python"])
def test_labelling_run(make: Callable[[], Any], as_lists: bool, benchmark: Any) -> None:
    benchmark.pedantic(lambda: run(make(), 100_000, as_lists), rounds=5, warmup_rounds=1)
