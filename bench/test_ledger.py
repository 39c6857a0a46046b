"""The ledger and the same in plain Python under pytest-benchmark: `pytest bench --benchmark-only`.

Small and quick, for a developer's before and after; the making of the texts counts here, on both sides.
`bench/ledger.py` leaves it out and writes the result file.
"""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pytest_benchmark")


@pytest.mark.parametrize("side", ["erprm", "plain Python"])
def test_labelling_run(side: str, benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    from ledger import run
    from ledger_python import PythonLedger

    from erprm._core import Ledger

    make: Any = Ledger if side == "erprm" else PythonLedger
    benchmark.pedantic(lambda: run(make(), 100_000, as_lists=side != "erprm"), rounds=5, warmup_rounds=1)
