"""`erprm search-bench` from problems to figure with a small real policy and reward model, interrupted in between."""

import json
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.evaluation.search_bench import SearchBench
from erprm.grading import GraderPool
from erprm.problems import Problem
from erprm.selection.graded import graded_rows
from erprm.selection.search import Path as Solution

METHODS = ("best-of-n", "majority", "beam", "dvts", "guided", "smc", "adaptive", "q-sharp")


def test_every_method_has_its_point_and_a_second_run_goes_on(tmp_path: Path, model_dir: Path, prm_dir: Path,
                                                             monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    problems, out = tmp_path / "problems.jsonl", tmp_path / "out"
    problems.write_text("".join(json.dumps({"id": str(i), "question": f"{i}+3?", "answer": str(i + 3)}) + "\n"
                                for i in range(3)))
    command = ["search-bench", "--problems", str(problems), "--policy", str(model_dir), "--prm", str(prm_dir),
               "--ns", "4", "2", "--expand", "2", "--max-steps", "2", "--max-tokens", "6", "--workers", "1",
               "--part-problems", "2", "--top-k", "2", "--out", str(out), "--methods"]
    parts: list[tuple[str, int]] = []
    whole = SearchBench._part

    def once(self: SearchBench, method: str, n: int, part: list) -> dict:
        if len(parts) == 3:
            raise KeyboardInterrupt
        parts.append((method, n))
        return whole(self, method, n, part)

    monkeypatch.setattr(SearchBench, "_part", once)
    assert main([*command, *METHODS]) == 130
    assert not (out / "search.json").exists()
    counted: list[tuple[str, int]] = []

    def count(self: SearchBench, method: str, n: int, part: list) -> dict:
        counted.append((method, n))
        return whole(self, method, n, part)

    monkeypatch.setattr(SearchBench, "_part", count)
    assert main([*command, *METHODS]) == 0
    assert len(counted) == 2 * 2 * len(METHODS) - 3, "two parts for each point, less what was finished"
    results = json.loads((out / "search.json").read_text())
    assert [(point["method"], point["n"]) for point in results["points"]] == [(m, n) for m in METHODS for n in (2, 4)]
    points = {(point["method"], point["n"]): point for point in results["points"]}
    for point in points.values():
        assert 0 <= point["low"] <= point["accuracy"] <= point["high"] <= 1
        assert point["generated"] > 0
        assert (point["scored"] == 0) == (point["method"] == "majority")
        assert point["tokens"] == point["generated"] + point["scored"]
        assert len(point["right"]) == 3
    assert points["best-of-n", 4]["generated"] == points["majority", 4]["generated"], "the same solutions"
    assert points["best-of-n", 2]["generated"] < points["best-of-n", 4]["generated"]
    assert {(pair["first"], pair["second"]) for pair in results["paired"]} >= {("best-of-n", "smc")}
    assert (out / "search.png").read_bytes().startswith(b"\x89PNG")
    assert results["prefixes_scored_anew"] is None
    assert "tokens are per problem; figure" in capsys.readouterr().out
    counted.clear()
    assert main([*command, "smc", "beam"]) == 0
    assert not counted, "all of it was there"
    assert main([*command, "smc", "--eta", "1"]) == 2
    assert "eta" in capsys.readouterr().err
    without = [*command, "majority", "--limit", "1", "--memory-gib", "0", "--out", str(tmp_path / "without")]
    assert main(without) == 0
    assert "tokens are per problem; prefixes are scored anew: no memory was given" in capsys.readouterr().out
    results = json.loads((tmp_path / "without" / "search.json").read_text())
    assert results["prefixes_scored_anew"] == "no memory was given to keep them"


def test_the_most_frequent_answer_comes_first() -> None:
    problems = [Problem(str(number), f"q{number}", "0.5") for number in range(2)]
    found = [[Solution((f"#### {answer}",), finished=True, gaps=("", "")) for answer in answers]
             for answers in (["3", "1/2", "0.5", "\\frac12"], ["7"])]
    with GraderPool(1) as grader:
        plain, voted = (graded_rows(problems, found, grader, votes) for votes in (False, True))
    assert [row.solution_id for row in plain] == ["0/0", "0/1", "0/2", "0/3", "1/0"]
    assert [row.solution_id for row in voted] == ["0/1", "0/2", "0/3", "0/0", "1/0"]
    assert [row.outcome for row in voted] == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_unknown_methods_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search-bench", "--problems", "p", "--policy", "p", "--prm", "q", "--out", "o", "--methods",
                 "mcts"]) == 2
    assert "methods: expected one of" in capsys.readouterr().err
