"""`bench/label_noise.py`: the reliability of a label, where it is known, and which prefixes are counted."""

import sys
from pathlib import Path

import numpy as np
import pytest

from erprm.rows import StepRow, write_rows

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import label_noise


def test_the_reliability_of_a_rate_is_that_of_the_beta_binomial() -> None:
    """Var p / (Var p + E p (1 - p) / n) for k/n, p ~ Beta(0.5, 1.5)."""
    draw = np.random.default_rng(0)
    rates, n = draw.beta(0.5, 1.5, 40_000), 8
    first, second = (draw.binomial(n, rates) / n for _ in range(2))
    variance = 0.25 * 0.75 / 3
    truth = variance / (variance + (0.25 - 0.25**2 - variance) / n)
    share, low, high = label_noise.reliability(first, second, np.arange(40_000) // 10)
    assert share == pytest.approx(truth, abs=0.01)
    assert low < share < high < low + 0.05


def test_halves_of_the_counts_of_each_prefix_once(tmp_path: Path) -> None:
    rows = [StepRow(prompt="p", problem_id="1", steps=("a", "b", "c"), successes=(3, 2, 1), trials=(4, 4, 1),
                    outcome=1.0),
            StepRow(prompt="p", problem_id="1", steps=("a", "d"), successes=(3, 0), trials=(4, 4), finished=False)]
    write_rows(tmp_path / "rows.parquet", rows)
    found = label_noise.prefixes(tmp_path / "rows.parquet", 4)
    assert found["right"].tolist() == [3, 2, 0]
    assert found["depth"].tolist() == [1, 2, 2]
    for way in ("soft", "hard", "plug-in", "empirical-bayes"):
        assert label_noise.labels(found["right"] // 2, 2, found["depth"], way, 2.0).shape == (3,)
