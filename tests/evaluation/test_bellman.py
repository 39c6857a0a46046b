"""The Bellman residual on a chain whose transition probabilities and values are known exactly."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from erprm.errors import InputError
from erprm.evaluation import bellman_residual
from erprm.rows import StepRow
from erprm.values import mean_of_soft, soft_of_mean

# Three steps of two letters; each is "a" in three cases of four. The rows hold every path as often as it is drawn.
DRAWS = "aaab"
RATE = dict(zip(product("ab", repeat=3), (1.0, 0.75, 0.5, 0.0, 0.25, 0.5, 0.25, 0.0), strict=True))


def rate(prefix: tuple[str, ...]) -> float:
    """The success rate behind a prefix, exact in binary."""
    return RATE[prefix] if len(prefix) == 3 else sum(rate((*prefix, letter)) for letter in DRAWS) / 4


def chain_rows(eta: float, problem: str = "q") -> list[StepRow]:
    """64 paths, each with 4 outcomes that its rate gives exactly; scores are the exact V_eta."""
    rows = []
    for path in product(DRAWS, repeat=3):
        values = tuple(float(soft_of_mean(rate(path[:depth]), eta)) for depth in (1, 2, 3))
        rows += [StepRow(problem, path, outcome=float(number < 4 * RATE[path]), problem_id=problem, scores=values,
                         successes=tuple(round(256 * rate(path[:depth])) for depth in (1, 2, 3)), trials=(256,) * 3,
                         finished=True) for number in range(4)]
    return rows


@pytest.mark.parametrize("eta", [-3.0, 0.5, 2.0, 40.0])
def test_exact_values_have_no_residual(eta: float) -> None:
    rows = chain_rows(eta)
    found = bellman_residual(rows, eta)
    assert sorted(found.depths) == [0, 1, 2]
    assert [found.depths[depth].prefixes for depth in (1, 2)] == [2, 4]
    for part in (*found.depths.values(), found.end):
        assert abs(part.residual) < 1e-12
        assert abs(part.low) < 1e-12
        assert part.spread is None or part.spread < 1e-12
    unfinished = [replace(row, finished=False) for row in rows]  # so that the last step has its counts, not its outcome
    counted = bellman_residual(unfinished, eta, of="counts")
    assert all(abs(part.residual) < 1e-12 for part in counted.depths.values())
    assert counted.mean < 1e-12
    assert counted.end is None


def test_success_rates_are_read_as_such() -> None:
    rows = [replace(row, scores=tuple(float(mean_of_soft(value, 2.0)) for value in row.scores))
            for row in chain_rows(2.0)]
    assert bellman_residual(rows, 2.0, scores_are="mean").mean < 1e-12
    assert bellman_residual(rows, 2.0).mean > 0.05, "rates taken for V_2 do not agree with each other"


def test_a_value_that_is_too_high_shows_at_its_depth() -> None:
    """Raising V_2 everywhere by 0.1 moves delta_1 up by 0.1 eta and delta_2 down by it; the rest stays."""
    rows = [replace(row, scores=(row.scores[0], row.scores[1] + 0.1, row.scores[2])) for row in chain_rows(2.0)]
    found = bellman_residual(rows, 2.0)
    assert [found.depths[depth].residual for depth in (0, 1, 2)] == pytest.approx([0.0, 0.2, -0.2], abs=1e-12)
    assert [found.depths[depth].spread for depth in (1, 2)] == pytest.approx([0.2, 0.2])
    assert found.mean == pytest.approx(0.2)


def test_errors_that_cancel_over_a_depth_show_in_the_spread() -> None:
    """exp(eta V_1) of "a" lowered and of "b" raised so that their mean stays: only prefixes tell."""
    rows = chain_rows(2.0)
    share = {"a": 0.75, "b": 0.25}
    shift = {"a": -0.1, "b": 0.1 * share["a"] / share["b"]}
    rows = [replace(row, scores=(math.log(math.exp(2 * row.scores[0]) + shift[row.steps[0]]) / 2, *row.scores[1:]))
            for row in rows]
    part = bellman_residual(rows, 2.0).depths[1]
    assert abs(part.residual) < 1e-12
    assert part.spread > 0.03


def test_counts_of_few_completions_have_no_bias() -> None:
    """exp(eta g(k/n)) is linear in k: with 2 completions a prefix the interval over problems still holds 0."""
    rng = np.random.default_rng(0)
    rows = []
    for problem in range(400):
        path = tuple(rng.choice(list(DRAWS), 3))
        counts = tuple(int(rng.binomial(2, rate(path[:depth]))) for depth in (1, 2, 3))
        rows.append(StepRow(str(problem), path, successes=counts, trials=(2, 2, 2), finished=False))
    for part in bellman_residual(rows, 3.0, of="counts").depths.values():
        assert part.low < 0 < part.high
        assert part.high - part.low < 0.5


def test_steps_without_counts_are_left_out_and_counted() -> None:
    rows = [replace(row, finished=False, trials=(256, 0, 256), successes=(row.successes[0], 0, row.successes[2]))
            for row in chain_rows(1.0)] + [StepRow("r", ("a", "b"), successes=(1, 1), trials=(2, 2), finished=False)]
    found = bellman_residual(rows, 1.0, of="counts")
    assert found.left_out == 2 * 256
    assert found.depths[1].transitions == 1


@pytest.mark.parametrize(("arguments", "words"), [
    ((0.0,), "eta: expected a number other than 0"), ((math.nan,), "eta"),
    ((1.0, {"of": "labels"}), "of: expected one of scores, counts"),
    ((1.0, {"scores_are": "logit"}), "scores_are: expected value or mean"),
])
def test_bad_arguments_are_named(arguments: tuple, words: str) -> None:
    eta, options = arguments[0], arguments[1] if len(arguments) > 1 else {}
    with pytest.raises(InputError, match=words):
        bellman_residual(chain_rows(1.0), eta, **options)
    with pytest.raises(InputError, match="expected solutions with two steps"):
        bellman_residual([StepRow("q", ("a",), scores=(0.5,))], 1.0)
