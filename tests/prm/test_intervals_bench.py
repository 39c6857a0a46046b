"""bench/intervals.py: its coverage is right where the truth is known."""

import sys
from pathlib import Path

import numpy as np
import pytest

from erprm.rows import StepRow

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import intervals


@pytest.mark.parametrize(("said", "least", "most"), [(1.0, 0.885, 0.915), (8.0, 0.0, 0.7), (0.1, 0.93, 1.0)])
def test_the_share_inside_is_the_level_where_the_model_is_right_whatever_n_is(said: float, least: float,
                                                                              most: float) -> None:
    """Rates from Beta(0.3, 0.7), most of them near 0 or 1; a model that is too sure covers less, an unsure one more."""
    random = np.random.default_rng(0)
    rows, scores = [], []
    for _ in range(2000):
        rates, trials = random.beta(0.3, 0.7, 3), random.integers(1, 40, 3)
        successes = random.binomial(trials, rates)
        rows.append(StepRow("q", ("a", "b", "c"), successes=tuple(successes.tolist()), trials=tuple(trials.tolist())))
        scores.append(np.tile(np.array([0.3, said], np.float32), (3, 1)))
    found = intervals.inside(rows, scores, 0.9, seed=1)
    mean = intervals.share(found["transform"], found["problem"], 0)
    assert least <= mean["mean"] <= most
    assert mean["high"] - mean["low"] < 0.04
    assert len(found["width"]) == len(found["plain"]) == 6000
