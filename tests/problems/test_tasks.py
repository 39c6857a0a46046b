"""Step checkers say what exact search says: no wrong step exactly where the grader takes the solution, and no later."""

import random

import pytest

from erprm.grading import GraderPool
from erprm.problems import Problem
from erprm.problems.tasks import ANSWER, TASKS, Task


@pytest.fixture(scope="module", params=TASKS)
def drawn(request: pytest.FixtureRequest) -> tuple[Task, list[tuple[Problem, list[str]]]]:
    """A task and demonstrations of it, half of which wander."""
    one = TASKS[request.param]
    rng = random.Random(3)
    found = []
    for problem in one.splits({"all": 60}, 0)["all"]:
        for wandering in (0.0, 0.4):
            steps = one.demonstrate(problem.metadata, rng, wandering)
            assert steps is not None
            found.append((problem, steps))
    return one, found


def test_no_wrong_step_means_right_and_the_reverse(drawn: tuple[Task, list[tuple[Problem, list[str]]]]) -> None:
    one, solutions = drawn
    with GraderPool(workers=1) as pool:
        right = pool.grade_many([("\n".join(steps), problem) for problem, steps in solutions])
    assert 0.3 < sum(right) / len(right) < 0.95
    assert right == [one.first_wrong(problem.metadata, steps) is None for problem, steps in solutions]


def test_up_to_the_first_wrong_step_the_answer_can_be_reached(drawn: tuple[Task, list[tuple[Problem, list[str]]]],
                                                              ) -> None:
    one, solutions = drawn
    for problem, steps in solutions:
        wrong = one.first_wrong(problem.metadata, steps)
        for length in range(1, len(steps) + 1):
            expected = None if wrong is None or wrong >= length else wrong
            assert one.first_wrong(problem.metadata, steps[:length]) == expected


@pytest.mark.parametrize("broken", ["", "nonsense", "1=", "0?", ANSWER, ANSWER + "__import__('os')", "9" * 5000,
                                    ANSWER + "(" * 5000, "-1=1>1"])
def test_a_step_that_is_none_is_wrong(drawn: tuple[Task, list[tuple[Problem, list[str]]]], broken: str) -> None:
    one, solutions = drawn
    problem, steps = solutions[0]
    for place in range(len(steps)):
        assert one.first_wrong(problem.metadata, [*steps[:place], broken, *steps[place + 1:]]) == place
