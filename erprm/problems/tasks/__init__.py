"""Tasks that a policy can be taught: puzzles from reasoning-gym, with demonstrations and a check of every step.

A step of a demonstration is well-formed. With the probability `wandering` it is chosen at random, else it leads towards
a solution where one can still be reached. A policy taught on these searches and often loses its way, so that the value
of a prefix is truly graded: what process rewards are for.

    task("knights_knaves").first_wrong(problem.metadata, ["0+", "1-"])      # 1: after the second step no way is left
"""

from erprm.errors import InputError
from erprm.problems.tasks.chain_sum import CHAIN_SUM
from erprm.problems.tasks.countdown import COUNTDOWN
from erprm.problems.tasks.graph_color import GRAPH_COLOR
from erprm.problems.tasks.knights_knaves import KNIGHTS_KNAVES
from erprm.problems.tasks.number_sorting import NUMBER_SORTING
from erprm.problems.tasks.task import ANSWER, Task

TASKS = {one.name: one for one in (CHAIN_SUM, COUNTDOWN, GRAPH_COLOR, KNIGHTS_KNAVES, NUMBER_SORTING)}


def task(name: str) -> Task:
    """The task called `name`. Raises InputError."""
    if name not in TASKS:
        raise InputError(f"task: expected one of {', '.join(TASKS)}, found {name!r}")
    return TASKS[name]


__all__ = ["ANSWER", "TASKS", "Task", "task"]
