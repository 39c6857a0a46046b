"""ProcessBench and PRMBench numbers from their definitions, and pools from scored files."""

import numpy as np
import pytest

from erprm.errors import InputError
from erprm.evaluation.curves import accuracy_curves
from erprm.evaluation.pools import group_by_problem, pool_of, search_and_learn_rows
from erprm.evaluation.prmbench import evaluate_prmbench
from erprm.evaluation.processbench import best_threshold, evaluate_processbench
from erprm.grading.graders import ballot
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


def candidate(answer: str | None, outcome: float, grader: str = "") -> StepRow:
    return StepRow("q", (str(answer),), outcome=outcome, answer=answer, scores=(0.5,), problem_id="x",
                   extra={"grader": grader} if grader else {})


def test_spellings_of_an_answer_are_one_vote() -> None:
    """Three spellings of 1/2 outvote two of 3, which three answers would not; it is exported in the first one."""
    rows = [candidate("3", 0.0), candidate("0.5", 1.0), candidate("3", 0.0), candidate(r"\frac12", 1.0),
            candidate("1/2", 1.0)]
    groups = group_by_problem({"m": rows})
    pool = pool_of(groups)
    assert accuracy_curves(pool, [5]).by_problem["majority"].tolist() == [[1.0]]
    exported = next(search_and_learn_rows(groups, "m", "min", [4, 5])).extra
    assert exported["pred_maj@5"] == exported["pred_weighted@5"] == r"\boxed{0.5}"
    assert exported["pred_maj@4"] == r"\boxed{3}"


def test_answers_of_a_task_of_its_own_vote_as_they_are() -> None:
    """For countdown 5 + 9 and 2 * 7 are two answers, of which one may use the wrong numbers."""
    rows = [candidate("5 + 9", 0.0, "reasoning-gym:countdown"), candidate("2 * 7", 1.0, "reasoning-gym:countdown"),
            candidate("2 * 7", 1.0, "reasoning-gym:countdown")]
    assert [ballot(row) for row in rows] == ["5 + 9", "2 * 7", "2 * 7"]
    assert accuracy_curves(pool_of(group_by_problem({"m": rows})), [3]).by_problem["majority"].tolist() == [[1.0]]
    assert [ballot(candidate(text, 1.0, "choice")) for text in ("(B) Paris", "b", "b)")] == ["B", "B", "B"]
    assert [ballot(candidate(text, 1.0, "exact")) for text in ("a  b", "A b")] == ["a b", "A b"]
    assert ballot(candidate(None, 0.0)) is None


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
