"""ProcessBench and PRMBench numbers from their definitions, and pools from scored files."""

import numpy as np
import pytest

from erprm.errors import InputError
from erprm.evaluation.pools import group_by_problem, pool_of
from erprm.evaluation.prmbench import evaluate_prmbench
from erprm.evaluation.processbench import best_threshold, evaluate_processbench
from erprm.rows import StepRow

WRONG_AT_1 = StepRow("p", ("a", "b", "c"), labels=(1.0, 0.0, None))
RIGHT = StepRow("p", ("a", "b"), labels=(1.0, 1.0))


def test_processbench_counts_only_the_first_wrong_step() -> None:
    rows = [WRONG_AT_1] * 4 + [RIGHT] * 2
    scores = [np.array(s) for s in ([0.9, 0.2, 0.9], [0.9, 0.2, 0.1], [0.2, 0.1, 0.9], [0.9, 0.9, 0.9])]
    scores += [np.array([0.9, 0.8]), np.array([0.9, 0.4])]
    result = evaluate_processbench(rows, scores, 0.5)
    assert (result.wrong_accuracy, result.right_accuracy) == (0.5, 0.5)
    assert result.f1 == pytest.approx(0.5)
    assert result.low <= result.f1 <= result.high
    assert (result.wrong, result.right) == (4, 2)


def test_processbench_threshold_is_where_f1_is_highest() -> None:
    rows = [WRONG_AT_1, RIGHT]
    scores = [np.array([0.9, 0.7, 0.9]), np.array([0.85, 0.8])]
    threshold = best_threshold(rows, scores)
    assert 0.7 < threshold <= 0.8
    assert evaluate_processbench(rows, scores, threshold).f1 == 1.0
    assert evaluate_processbench(rows, scores, 0.5).f1 == 0.0
    with pytest.raises(InputError, match="expected right and wrong"):
        evaluate_processbench([RIGHT], [scores[1]])
    with pytest.raises(InputError, match="expected 2 scores, found 3"):
        evaluate_processbench([RIGHT], [scores[0]])


def test_prmbench_joins_both_f1s_by_class() -> None:
    rows = [StepRow("q", ("a", "b", "c", "d"), labels=(1.0, 0.0, 1.0, 0.0), extra={"classification": "circular"}),
            StepRow("q", ("a", "b"), labels=(1.0, 1.0), extra={"classification": "multi_solutions"})]
    scores = [np.array([0.9, 0.1, 0.5, 0.8]), np.array([0.9, 0.9])]  # 0.5 is not above the threshold
    results = evaluate_prmbench(rows, scores)
    assert list(results) == ["circular", "multi_solutions", "overall"]
    assert results["circular"].f1_right == results["circular"].f1_wrong == 0.5
    assert results["multi_solutions"].score == 1.0  # without wrong steps the F1 of the right ones is the whole score
    assert results["overall"].f1_right == pytest.approx(2 * 3 / (4 + 4))
    assert results["overall"].score == pytest.approx((0.75 + 0.5) / 2)


def scored(problem: str, scores: tuple[float, ...], outcome: float | None = 1.0) -> StepRow:
    return StepRow("q" + problem, tuple("ab"[: len(scores)]), outcome=outcome, problem_id=problem, answer="1",
                   scores=tuple(scores))


def test_pool_puts_candidates_of_a_problem_together() -> None:
    rows = [scored("x", (0.9, 0.2)), scored("y", (0.5,), 0.0), scored("x", (0.3,), 0.0), scored("y", (0.6, 0.7))]
    pool = pool_of(group_by_problem({"m": rows}), "min")
    assert pool.correct.tolist() == [[1, 0], [0, 1]]
    assert pool.scores["m"].tolist() == [[0.2, 0.3], [0.5, 0.6]]


@pytest.mark.parametrize(("files", "words"), [
    ({"m": [scored("x", (0.9,)), scored("x", (0.9,)), scored("y", (0.9,))]}, "expected 2 candidates .* found 1"),
    ({"m": [scored("x", (0.9,), None)]}, "row 1: expected a graded solution"),
    ({"m": [StepRow("q", ("a",), outcome=1.0)]}, "m: row 1: .*expected scores, found none"),
    ({"m": [scored("x", (0.9,))], "n": [scored("y", (0.9,))]}, "n: expected the same solutions"),
    ({"m": []}, "at least one solution"),
])
def test_pools_that_do_not_fit_are_refused(files: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        group_by_problem(files)
