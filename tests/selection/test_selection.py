"""Curves from one pool held to brute force over every subset, and the rules for ties and missing answers."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erprm.errors import InputError
from erprm.selection import (
    aggregate,
    aggregate_all,
    best_of_n_by_problem,
    majority_by_problem,
    majority_choice,
    pass_at_n_by_problem,
)
from erprm.selection.best_of_n import pool_accuracy
from erprm.values import soft_of_mean

candidates = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=7)


@given(candidates)
def test_best_of_n_is_the_mean_over_all_subsets_with_ties_shared(pool: list[tuple[int, int]]) -> None:
    scores, correct = np.array(pool, float).T[:, None]
    for n in range(1, len(pool) + 1):
        expected = []
        for subset in combinations(pool, n):
            best = [c for s, c in subset if s == max(s for s, _ in subset)]
            expected.append(sum(best) / len(best))
        assert best_of_n_by_problem(scores, correct, [n])[0, 0] == pytest.approx(np.mean(expected))
        some_right = [any(c for _, c in subset) for subset in combinations(pool, n)]
        assert pass_at_n_by_problem(correct, [n])[0, 0] == pytest.approx(np.mean(some_right))


@given(candidates, st.booleans())
def test_majority_is_the_mean_over_all_subsets(pool: list[tuple[int, int]], weighted: bool) -> None:
    answers = [None if a == 3 else a for a, _ in pool]
    correct = [float(a == 1) for a in answers]
    weights = [0.5 + 0.25 * w for _, w in pool] if weighted else [1.0] * len(pool)
    for n in range(1, len(pool) + 1):
        expected = []
        for subset in combinations(range(len(pool)), n):
            votes: dict[int, float] = {}
            for i in subset:
                if answers[i] is not None:
                    votes[answers[i]] = votes.get(answers[i], 0.0) + weights[i]
            winners = [a for a, v in votes.items() if v == max(votes.values())]
            expected.append(np.mean([a == 1 for a in winners]) if winners else 0.0)
        got = majority_by_problem([answers], [correct], [n], weights=[weights])
        assert got[0, 0] == pytest.approx(np.mean(expected))


def test_resampled_majority_is_near_the_exact_one_and_repeats_with_its_seed() -> None:
    rng = np.random.default_rng(0)
    answers = rng.choice(4, p=[0.4, 0.3, 0.2, 0.1], size=(200, 12)).tolist()
    correct = np.array(answers) == 0
    exact = majority_by_problem(answers, correct, [5], resamples=792).mean()  # C(12, 5): all of them
    drawn = majority_by_problem(answers, correct, [5], seed=3)
    assert drawn.mean() == pytest.approx(exact, abs=0.01)
    assert drawn.tolist() == majority_by_problem(answers, correct, [5], seed=3).tolist()
    assert drawn.tolist() != majority_by_problem(answers, correct, [5], seed=4).tolist()


def test_ends_of_a_full_size_pool() -> None:
    """300 problems of 64: n = 1 is the mean, n = N the top candidate, a constant score never helps."""
    rng = np.random.default_rng(1)
    scores, correct = rng.random((300, 64)), rng.random((300, 64)) < 0.2
    first, last = best_of_n_by_problem(scores, correct, [1, 64]).mean(axis=0)
    assert first == pytest.approx(correct.mean())
    assert last == pytest.approx(correct[np.arange(300), scores.argmax(1)].mean())
    blind = best_of_n_by_problem(np.zeros((300, 64)), correct, [1, 8, 64])
    np.testing.assert_allclose(blind.mean(axis=0), correct.mean())
    oracle = best_of_n_by_problem(correct, correct, [8])
    assert oracle.mean() == pytest.approx(pass_at_n_by_problem(correct, [8]).mean())


def test_aggregations_of_known_scores() -> None:
    steps = [0.9, 0.5, 0.8]
    want = {"min": 0.5, "last": 0.8, "product": 0.36, "mean": 2.2 / 3, "max": 0.9}
    assert {how: pytest.approx(float(aggregate(steps, how))) for how in want} == want
    assert aggregate(steps, "soft_min", eta=1e4) == pytest.approx(0.5, abs=2e-4)
    assert aggregate(steps, "soft_min", eta=0.0) == pytest.approx(2.2 / 3)
    assert aggregate(steps, "soft_min", eta=3.0) == pytest.approx(-np.log(np.mean(np.exp(-3.0 * np.array(steps)))) / 3)
    assert aggregate_all([steps, [0.7]], "min").tolist() == [0.5, 0.7]


@given(st.lists(st.floats(0.01, 0.99), min_size=2, max_size=5), st.lists(st.floats(0.01, 0.99), min_size=2, max_size=5),
       st.floats(0.1, 20.0))
def test_order_by_min_max_and_last_does_not_depend_on_eta(first: list[float], second: list[float], eta: float) -> None:
    for how in ("min", "max", "last"):
        plain = aggregate(first, how) - aggregate(second, how)
        soft = aggregate(soft_of_mean(first, eta), how) - aggregate(soft_of_mean(second, eta), how)
        assert abs(plain) < 1e-6 or np.sign(plain) == np.sign(soft)


def test_order_by_mean_and_product_does_depend_on_eta() -> None:
    even, uneven = [0.5, 0.5], [0.05, 0.9]
    assert aggregate(even, "mean") > aggregate(uneven, "mean")
    assert aggregate(soft_of_mean(even, -5.0), "mean") < aggregate(soft_of_mean(uneven, -5.0), "mean")
    assert aggregate(soft_of_mean([0.3, 0.3], 10.0), "product") > aggregate(soft_of_mean([0.1, 0.95], 10.0), "product")
    assert aggregate([0.3, 0.3], "product") < aggregate([0.1, 0.95], "product")


def test_majority_choice_of_one_problem() -> None:
    assert majority_choice(["3", None, "4", "4"]) == "4"
    assert majority_choice(["3", "4", "4"], weights=[0.9, 0.2, 0.3]) == "3"
    assert majority_choice([None, None]) is None


@pytest.mark.parametrize(("call", "words"), [
    (lambda: best_of_n_by_problem([[0.1, np.nan]], [[0, 1]], [1]), "scores: expected finite"),
    (lambda: best_of_n_by_problem([[0.1]], [[0, 1]], [1]), "scores: expected the shape"),
    (lambda: best_of_n_by_problem([[0.1, 0.2]], [[0, 1]], [3]), "1 <= n <= 2 .* found 3"),
    (lambda: best_of_n_by_problem([[0.1, 0.2]], [[0, 1]], [0]), "found 0"),
    (lambda: best_of_n_by_problem([], [], [1]), "at least one of each"),
    (lambda: pass_at_n_by_problem([[0, 2]], [1]), r"values in \[0, 1\]"),
    (lambda: majority_by_problem([["a"]], [[0, 1]], [1]), "answers: expected 1 lists of 2"),
    (lambda: majority_by_problem([["a", "b"]], [[0, 1]], [1], weights=[[1, -1]]), "weights"),
    (lambda: aggregate([], "min"), "at least one step"),
    (lambda: aggregate([0.5], "median"), "aggregation: expected one of min"),
    (lambda: aggregate([np.nan], "min"), "finite"),
])
def test_bad_input_is_named(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


def test_the_pool_takes_the_best_minimum_and_shares_ties() -> None:
    scores = np.array([0.9, 0.2, 0.5, 0.5, 0.8, 0.1])
    offsets = np.array([0, 2, 3, 4, 5, 6])
    outcomes, problems = np.array([1.0, 1.0, 0.0, 1.0, np.nan]), np.array([0, 0, 0, 1, 1])
    assert pool_accuracy(scores, offsets, outcomes, problems) == {"best_of_n": 0.5, "mean_of_n": pytest.approx(2 / 3)}
