"""The ids of prefixes are those of earlier versions: a store that one of them began goes on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from erprm.engines import Completion, Request, Sampling
from erprm.grading import GraderPool
from erprm.problems import Problem
from erprm.rollouts.run import LabelOptions, label
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow
from erprm.steps import gaps_to_keep, split_steps


class Table:
    def fingerprint(self) -> dict[str, str]:
        return {"engine": "table 1", "model": "m"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        return [[Completion("#### 7", "stop", 3)] * request.n for request in requests]

    def close(self) -> None:
        pass


FIRST, SECOND = Problem("p0", "1+6?", "7", grader="numeric"), Problem("ü\u2028", "Wie viel?", "7", grader="numeric")
TEXTS = {
    "newline": [(FIRST, "1+6=7\nso it is 7\n#### 7"), (FIRST, "1+6=7\nno\n#### 8"),
                (SECOND, "α\u00a0b\n x\ty\n7")],
    "blank-line": [(FIRST, "a line\nand one\n\n#### 7"), (SECOND, "α\n\nβ\n\n\\[7\\]")]}
# Written by the code before steps kept the text around them (39295f7): splitter, prefix, id.
IDS = {
    ("newline", "1+6=7\n"): "e0237efe0f52de5b518da9122c2629dd",
    ("newline", "1+6=7\nso it is 7\n"): "843705d60c8192329682d5173fe7eadb",
    ("newline", "1+6=7\nno\n"): "ef66001c2f07a647fb0bd13e53f51083",
    ("newline", "α\u00a0b\n"): "d984e51e3d58726c321fa6666aeca085",
    ("newline", "α\u00a0b\nx\ty\n"): "cf54be3a4d89e96886baf2743deaed08",
    ("blank-line", "a line\nand one\n\n"): "84d3c34375926215c2e31b6e56c087b7",
    ("blank-line", "α\n\n"): "c83449ea3d31968f13a862206dd633c6",
    ("blank-line", "α\n\nβ\n\n"): "ec3a639c28560608e5202ec9f81e4000",
}


@pytest.mark.parametrize("gaps", ["none", "kept"])
def test_ids_of_earlier_versions(gaps: str, tmp_path: Path) -> None:
    """Rows as earlier versions wrote them have all the same ids; rows with their gaps where the text is the same."""
    found = {}
    for splitter, texts in TEXTS.items():
        rows = []
        for problem, text in texts:
            steps = split_steps(text, splitter)
            row = StepRow(problem.question, tuple(steps), outcome=1.0, problem_id=problem.id)
            rows.append(row if gaps == "none" else replace(row, gaps=gaps_to_keep(steps, finished=True)))
        place = tmp_path / splitter
        with GraderPool(workers=1) as grader:
            label([FIRST, SECOND], rows, Table(), Sampling(max_tokens=8), place, grader,
                  LabelOptions(n=1, splitter=splitter))
        found |= {(splitter, record["prefix"]): record["prefix_id"] for table in read_parts(place)
                  for record in table.to_pylist()}
    if gaps == "none":
        assert found == IDS
    else:  # the indentation of " x" is part of its prefix now, which is another one
        indented = ("newline", "α\u00a0b\n x\ty\n")
        assert found.keys() - IDS.keys() == {indented}
        assert found.pop(indented) not in IDS.values()
        assert found.items() <= IDS.items()
        assert len(found) == len(IDS) - 1
