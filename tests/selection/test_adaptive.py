"""Adaptive best-of-N: when it stops, what that saves, and that it changes no candidate."""

import math

import numpy as np
import pytest
from selection.toy_chain import TwoSteps, soft_values

from erprm.errors import InputError
from erprm.selection.adaptive import adaptive_best_of_n, adaptive_by_problem, hoeffding_interval, settled
from erprm.selection.sampling import best_of_n
from erprm.selection.search import SearchSettings


def test_it_is_settled_when_the_leaders_lower_end_passes_all_upper_ones() -> None:
    scores, low, high = [0.3, 0.9, 0.5], [0.2, 0.7, 0.4], [0.4, 0.95, 0.6]
    assert settled(scores, low, high)
    assert not settled(scores, low, [0.4, 0.95, 0.7]), "equal ends do not pass"
    assert not settled([0.9], [0.7], [0.95]), "a single candidate leads nobody"
    assert not settled([0.9, 0.9], [0.8, 0.8], [0.95, 0.95]), "equal candidates are not told apart"


def test_the_bound_holds_what_it_says() -> None:
    """Hoeffding: the mean of `worth` draws is further from the rate in at most 1 - level of the cases."""
    rng = np.random.default_rng(0)
    rates = rng.random(4000)
    low, high = hoeffding_interval(rng.binomial(16, rates) / 16, worth=16, level=0.9)
    assert np.mean((rates < low) | (rates > high)) < 0.1
    assert np.all((low >= 0) & (high <= 1))
    assert (high - low).max() == pytest.approx(2 * math.sqrt(math.log(20) / 32))


def brute_force(scores: np.ndarray, low: np.ndarray, high: np.ndarray, order: np.ndarray, least: int) -> int:
    for n in range(least, len(order) + 1):
        seen = list(order[:n])
        leader = max(seen, key=lambda index: (scores[index], -seen.index(index)))
        if len(seen) > 1 and all(low[leader] > high[other] for other in seen if other != leader):
            return n
    return len(order)


def test_pools_are_judged_as_if_they_had_been_drawn_one_by_one() -> None:
    rng = np.random.default_rng(1)
    scores, cost = rng.random((20, 12)), rng.integers(5, 50, (20, 12)).astype(float)
    low, high = scores - 0.1, scores + 0.1
    correct = (rng.random((20, 12)) < scores).astype(float)
    found = adaptive_by_problem(scores, low, high, correct, cost, least=3, orders=7, seed=5)
    for problem in range(20):
        draws = np.random.default_rng((5, problem))
        orders = [draws.permutation(12) for _ in range(7)]
        counts = [brute_force(scores[problem], low[problem], high[problem], order, 3) for order in orders]
        assert found.candidates[problem] == pytest.approx(np.mean(counts))
        right = [correct[problem, max(order[:n], key=lambda i: scores[problem, i])]
                 for order, n in zip(orders, counts, strict=True)]
        assert found.accuracy[problem] == pytest.approx(np.mean(right))
        spent = [cost[problem, order[:n]].sum() for order, n in zip(orders, counts, strict=True)]
        assert found.saved[problem] == pytest.approx(1 - np.mean(spent) / cost[problem].sum())
        assert found.full[problem] == correct[problem, scores[problem].argmax()]


def test_sharp_scores_save_and_wide_intervals_save_nothing() -> None:
    rng = np.random.default_rng(2)
    correct = (rng.random((60, 16)) < 0.2).astype(float)
    correct[:, 0] = 1.0
    scores = 0.2 + 0.6 * correct + rng.normal(0, 0.01, correct.shape)
    cost = np.full(correct.shape, 10.0)
    sharp = adaptive_by_problem(scores, scores - 0.001, scores + 0.001, correct, cost)
    assert sharp.saved.mean() > 0.4
    wide = adaptive_by_problem(scores, scores - 1, scores + 1, correct, cost)
    assert wide.saved.max() == 0.0
    assert wide.accuracy == pytest.approx(wide.full)


def test_the_search_draws_a_beginning_of_the_same_candidates() -> None:
    """Whatever the portions, candidate i is the same; it stops early where the best reward stands out."""
    engine, settings = TwoSteps(), SearchSettings(expand=3, aggregation="last")
    questions = [f"q{number}" for number in range(20)]
    whole = best_of_n(questions, TwoSteps(), soft_values(0.0), settings, 24)
    early = adaptive_best_of_n(questions, engine, soft_values(0.0), settings, 24,
                               lambda values: (values - 0.01, values + 0.01))
    drawn = [len(paths) for paths in early]
    assert engine.written == sum(drawn)
    assert min(drawn) == 3
    assert len(set(drawn)) > 1
    for paths, all_paths in zip(early, whole, strict=True):
        assert len(paths) % 3 == 0
        assert set(paths) <= set(all_paths)
        assert paths[0].value("last") == max(path.value("last") for path in paths)
    with_ends = adaptive_best_of_n(questions, TwoSteps(), lambda texts: [
        np.stack([scores, scores - 0.01, scores + 0.01], 1) for scores in soft_values(0.0)(texts)], settings, 24)
    assert [len(paths) for paths in with_ends] == drawn, "a model's own intervals count, not the bound"
    assert with_ends[0][0].low == pytest.approx([score - 0.01 for score in with_ends[0][0].scores])
    never = adaptive_best_of_n(questions[:2], TwoSteps(), soft_values(0.0), settings, 8,
                               lambda values: (values - 1, values + 1))
    assert [len(paths) for paths in never] == [8, 8]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: hoeffding_interval([0.5], worth=0), "worth: expected at least 1"),
    (lambda: hoeffding_interval([0.5], level=1.0), "level"),
    (lambda: adaptive_by_problem([[0.5]], [[0.5]], [[0.5, 1.0]], [[1.0]], [[1.0]]), "expected the shape of correct"),
    (lambda: adaptive_by_problem([[0.5]], [[0.5]], [[0.5]], [[1.0]], [[1.0]], least=0), "least, orders"),
])
def test_bad_arguments_are_named(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
