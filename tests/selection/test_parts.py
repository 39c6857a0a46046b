"""Searches that are interrupted, and candidates that a scorer cannot read."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from erprm.engines import Completion, Request, Sampling
from erprm.errors import InputError
from erprm.problems import Problem
from erprm.rows import StepRow
from erprm.selection.beam import beam_search
from erprm.selection.files import search_in_parts
from erprm.selection.guided import guided_decode
from erprm.selection.search import Branch, SearchSettings

PROBLEMS = [Problem(str(number), f"{number}?", "7") for number in range(5)]


class Searched:
    """A search that is interrupted before the problem `until`."""

    def __init__(self, until: str = "") -> None:
        self.until, self.asked = until, []

    def __call__(self, problems: Sequence[Problem]) -> list[StepRow]:
        if self.until in [problem.id for problem in problems]:
            raise KeyboardInterrupt
        self.asked += [problem.id for problem in problems]
        return [StepRow(problem.question, ("a", "7"), problem_id=problem.id, outcome=1.0, scores=(0.25, 1.0))
                for problem in problems if problem.id != "1"]  # one problem has no solution


def test_an_interrupted_search_goes_on_behind_its_last_part(tmp_path: Path) -> None:
    whole = search_in_parts(PROBLEMS, Searched(), tmp_path / "whole", {"eta": "2"}, 2)
    assert [row.problem_id for row in whole] == ["0", "2", "3", "4"]
    folder, found = tmp_path / "parts", []
    with pytest.raises(KeyboardInterrupt):
        search_in_parts(PROBLEMS, first := Searched(until="4"), folder, {"eta": "2"}, 2)
    with pytest.raises(InputError, match="eta: store has 2, asked for 3"):
        search_in_parts(PROBLEMS, Searched(), folder, {"eta": "3"}, 2)
    assert search_in_parts(PROBLEMS, second := Searched(), folder, {"eta": "2"}, 2, found.append) == whole
    assert (first.asked, second.asked, found) == (["0", "1", "2", "3"], ["4"], [2, 2])


class Tags:
    """A policy of which every third extension holds the tag, and all to the question "bad"."""

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        return [[Completion(f"TAG {i}" if i % 3 == 0 or request.question == "bad" else f"step {i}", "stop", 1,
                            None if request.prefix else "\n") for i in range(request.n)] for request in requests]

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "tags"}

    def close(self) -> None:
        pass


def score(texts: Sequence[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
    for number, (_, steps) in enumerate(texts, start=1):
        if any("TAG" in step for step in steps):
            raise InputError(f"row {number}: the tag stands in a step")
    return [np.linspace(0.5, 0.9, len(steps)) for _, steps in texts]


@pytest.mark.parametrize("method", ["beam", "guided"])
def test_a_candidate_with_the_tag_costs_only_itself(method: str) -> None:
    questions, settings, lost = ["good", "bad", "well"], SearchSettings(width=3, expand=4, trees=2), []

    def search(refused: object = None) -> list[list[object]]:
        return (beam_search(questions, Tags(), score, settings, None, refused) if method == "beam" else
                guided_decode(questions, Tags(), score, settings, 2.0, "value", None, refused))

    with pytest.raises(InputError, match="tag stands"):
        search()
    good, bad, well = search(lambda branch, error: lost.append((branch, str(error))))
    assert [path.steps for path in bad] == [()] * 2
    for path in good + well:
        assert len(path.steps) == len(path.scores) == 2
        assert path.finished
        assert not any("TAG" in step for step in path.steps)
    assert {branch.question for branch, _ in lost} == set(questions)
    assert sum(isinstance(branch, Branch) and branch.question == "bad" for branch, _ in lost) == 8
    assert all("tag stands" in error for _, error in lost)
