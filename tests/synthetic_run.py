"""A made-up run: pools, counts and scores with the noise of a small experiment, for the report's tests."""

from typing import Any

import numpy as np

from erprm.evaluation.curves import Pool, accuracy_curves, compare
from erprm.evaluation.report import ExampleSolution, ScoredStep
from erprm.statistics.bootstrap import Comparison
from erprm.statistics.calibration import Calibration, calibrate

NS = (1, 2, 4, 8, 16, 32, 64)
SKILL = {"orm": 0.5, "soft": 0.8, "hard": 0.65, "er_eta_2": 0.95, "er_eta_10": 0.75}


def run(seed: int = 0, problems: int = 300, flawed: str | None = None,
        ) -> tuple[dict[str, Any], list[ExampleSolution], list[Calibration], list[Comparison]]:
    """(results, examples, calibrations, comparisons). `flawed` names a scorer that prefers wrong answers at the top."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(0.6, 3.5, (problems, 1))
    correct = (rng.random((problems, 64)) < chance).astype(float)
    answers = np.where(correct == 1, 0, rng.integers(1, 9, correct.shape)).tolist()
    scores = {}
    for name, skill in SKILL.items():
        noise = rng.normal(size=correct.shape)
        scores[name] = skill * correct + noise
        if name == flawed:
            scores[name] = np.where(noise > 1.6, 5 + (1 - correct), scores[name])
        scores[name] = 1 / (1 + np.exp(-scores[name]))
    curves = accuracy_curves(Pool(answers, correct, scores), NS, weigh_by="er_eta_2", seed=seed)
    pairs = [("er_eta_2", other) for other in ("pass@1", "majority", "orm", "soft", "hard", "er_eta_10")]
    truth = rng.beta(0.4, 1.5, 3000)
    calibrations = []
    for name in ("soft", "er_eta_2"):
        logit = np.log(truth + 0.02) - np.log(1.02 - truth) + rng.normal(0, 1.2, 3000)
        score = 1 / (1 + np.exp(-logit))
        calibrations.append(calibrate(score, rng.binomial(16, truth) / 16, name=name))
    results = {
        "seed": seed, "task": "countdown", "policy": {"parameters": 652_000, "pass@1": float(correct.mean())},
        "labels": {"prefixes": 14_231, "completions": 161_024, "distinct_prefixes": 10_064}, "problems": problems,
        "best_of_n": curves.table(),
        "raft": {"before": float(correct.mean()), "after": float(correct.mean()) + 0.04,
                 "low": float(correct.mean()) + 0.02, "high": float(correct.mean()) + 0.06},
        "seconds": {"problems": 3.2, "sft": 240.0, "sample": 61.0, "label": 180.5, "train": 205.0, "score": 33.0,
                    "raft": 90.1},
    }
    return results, examples(), calibrations, compare(curves, pairs, 64)


def examples() -> list[ExampleSolution]:
    """Three solutions: lost half-way, right, and a misled score; the text holds signs that HTML must escape."""
    return [
        ExampleSolution("Use 6, 4, 8, 2 to reach 26.", (
            ScoredStep("6*4=24>24,8,2", 0.71, 0.63, 9, 16), ScoredStep("24*8=192>192,2", 0.08, 0.0, 0, 16),
            ScoredStep("192/2=96", 0.03, 0.0, 0, 1)), False, "96", "26", "The second step throws the solution away.",
            "score (ER, η = 2)", "true V (η = 2)"),
        ExampleSolution("Use 1, 2, 3, 4 to reach 10.", (
            ScoredStep("1+2=3>3,3,4", 0.82, 0.94, 14, 16), ScoredStep("3+3=6>6,4", 0.94, 1.0, 16, 16),
            ScoredStep("6+4=10", 0.97, 1.0, 1, 1)), True, "10", "10", "", "score (ER, η = 2)", "true V (η = 2)"),
        ExampleSolution("Use <b>5, 5, 9 & 3</b> to reach 42.", (
            ScoredStep("5*9=45>45,5,3", 0.52, 0.9, 13, 16), ScoredStep("45-3=42>42,5", 0.66, None),
            ScoredStep("42", 0.81, 0.0, 0, 1)), False, "42", "42", "One number was left unused.",
            "score (ER, η = 2)", "true V (η = 2)"),
    ]
