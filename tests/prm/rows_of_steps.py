"""Rows for the tests of PRM training: whether a step is right can be read off its text, so a tiny model learns it."""

import random

from erprm.rows import StepRow


def rows(problems: int = 8, solutions: int = 4, seed: int = 0, trials: int = 8) -> list[StepRow]:
    """Solutions of 1-4 steps; a "good" step succeeds mostly, a "bad" one rarely; rows of a problem begin alike."""
    draw = random.Random(seed)
    made = []
    for problem in range(problems):
        shared = ("good start",) if problem % 2 else ()
        for solution in range(solutions):
            words = [draw.choice(("good", "bad")) for _ in range(draw.randint(1, 4 - len(shared)))]
            steps = shared + tuple(f"{word} {draw.randint(1, 99)}" for word in words)
            counts = [trials - draw.randint(0, 2) if step.startswith("good") else draw.randint(0, 2) for step in steps]
            made.append(StepRow(f"question {problem}?", steps, successes=(*counts[:-1], 0),
                                trials=(*(trials for _ in steps[:-1]), 0), outcome=float(steps[-1].startswith("good")),
                                problem_id=f"p{problem}", solution_id=f"s{solution}"))
    return made
