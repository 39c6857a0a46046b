"""Over-optimisation, biases and contamination on pools whose answers are known."""

import math

import numpy as np
import pytest

from erprm.errors import InputError
from erprm.evaluation.bias import partial_correlation
from erprm.evaluation.contamination import contamination
from erprm.evaluation.curves import Pool, accuracy_curves
from erprm.evaluation.overoptimisation import kl_of, passed_over, turn_down
from erprm.evaluation.pools import group_by_problem, pool_of
from erprm.rows import StepRow

NS = [1, 4, 16, 64, 256, 1024]


def pool(trap: float, problems: int = 120, size: int = 1024) -> Pool:
    """Right solutions score higher, but a share `trap` of the wrong ones scores highest of all, found at large N."""
    rng = np.random.default_rng(0)
    correct = (rng.random((problems, size)) < 0.3).astype(float)
    scores = rng.normal(correct, 0.7)
    scores += 10.0 * ((rng.random(correct.shape) < trap) & (correct == 0))
    return Pool([[None] * size] * problems, correct, {"prm": scores})


def test_a_scorer_with_rare_traps_turns_down_beyond_noise() -> None:
    curves = accuracy_curves(pool(trap=0.01), NS)
    found = turn_down(curves, "prm")
    assert found is not None
    assert found.beyond_noise
    assert 1 < found.peak < 1024 == found.last
    means = curves.by_problem["prm"].mean(axis=0)
    assert found.drop == pytest.approx(means.max() - means[-1])
    assert 0 < found.low < found.drop < found.high
    assert found.kl_last == pytest.approx(math.log(1024) - 1023 / 1024)
    assert kl_of(1) == 0.0


def test_a_scorer_without_traps_is_not_flagged() -> None:
    """Noise alone: over many pools a flag is as rare as the level says."""
    found = turn_down(accuracy_curves(pool(trap=0.0, problems=60), NS), "prm")
    assert found is None or not found.beyond_noise
    rng, flags = np.random.default_rng(1), 0
    for _ in range(60):
        correct = (rng.random((40, 32)) < 0.3).astype(float)
        found = turn_down(accuracy_curves(Pool([[None] * 32] * 40, correct, {"prm": rng.random(correct.shape)}),
                                          [1, 4, 16, 32]), "prm")
        flags += found is not None and found.beyond_noise
    assert flags <= 8, "5 % of 60 is 3; 9 or more has a chance under 1 in 200"


def row(problem: str, number: int, scores: tuple[float, ...], outcome: float, text: str = "x") -> StepRow:
    return StepRow(f"q{problem}", tuple([text] * len(scores)), outcome=outcome, problem_id=problem, scores=scores,
                   solution_id=f"{problem}/{number}")


def test_the_step_that_let_the_right_solution_lose_is_named() -> None:
    rows = [row("a", 0, (0.9, 0.8, 0.85), 0.0), row("a", 1, (0.9, 0.9, 0.3), 1.0), row("a", 2, (0.1, 0.9, 0.9), 1.0),
            row("b", 0, (0.2, 0.9), 1.0), row("b", 1, (0.6,), 0.0), row("b", 2, (0.1,), 0.0),
            row("c", 0, (0.9,), 1.0), row("c", 1, (0.2,), 0.0), row("c", 2, (0.3,), 0.0)]
    groups = group_by_problem({"prm": rows})
    found = passed_over(groups, pool_of(groups, "min"), "prm")
    assert found.problems == 2
    assert found.margin == pytest.approx((0.5 + 0.4) / 2)
    assert found.where == (0.5, 0.0, 0.5)
    assert found.examples[0] == {"problem": "a", "right": "a/1", "step": 3, "steps": 3, "score": 0.3, "winner": "a/0",
                                 "winner_score": 0.8}
    fine = group_by_problem({"prm": rows[6:]})
    assert passed_over(fine, pool_of(fine, "min"), "prm") is None


def test_partial_correlation_holds_problem_and_truth() -> None:
    rng = np.random.default_rng(0)
    correct = (rng.random((200, 16)) < 0.4).astype(float)
    hardness = rng.normal(size=(200, 1))
    lengths = 50 + 10 * hardness - 15 * correct + rng.normal(0, 3, correct.shape)
    scores = 2 * correct - hardness + rng.normal(0, 1, correct.shape)  # both follow truth and problem, not each other
    assert abs(np.corrcoef(scores.ravel(), lengths.ravel())[0, 1]) > 0.5
    fair = partial_correlation(scores, lengths, correct)
    assert fair.low < 0 < fair.high
    assert abs(fair.r) < 0.05
    biased = partial_correlation(scores + 0.2 * lengths, lengths, correct)
    expected = 0.6 / math.sqrt(0.36 + 1)  # 0.2 * 3 of length against noise of 1
    assert biased.r == pytest.approx(expected, abs=0.03)
    assert biased.low < biased.r < biased.high
    assert partial_correlation(scores, np.ones_like(scores), correct) is None
    with pytest.raises(InputError, match="one shape"):
        partial_correlation(scores, lengths[:, :3], correct)


def test_equal_and_similar_questions_are_found() -> None:
    long = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
    training = [long, "What is 2 + 3?", "Anna buys 3 boxes of 12 eggs each and eats 5 of them. How many are left over?"]
    questions = ["natalia sold CLIPS to 48 of her friends in April and then she sold half as many clips in May",
                 long + " How many in total?", "What is 2 + 4?",
                 "Anna buys 4 boxes of 11 eggs each and eats 6 of them. How many are left over?", "What is 2+3"]
    found = contamination(questions, training)
    assert (found.questions, found.training, found.equal, found.similar) == (5, 3, 2, 1)
    assert found.examples == (questions[0], questions[4], questions[1])
    assert contamination([], training).questions == 0
