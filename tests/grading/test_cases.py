"""Final answers as models write them: every one judged as a careful person does."""

import json
from pathlib import Path

from erprm.grading import GraderPool
from erprm.problems import Problem

from .cases import CASES


def judged(cases: list[tuple[str, str, str, bool]]) -> list[tuple[str, str, str]]:
    """(grader, text, reference) of the cases that are judged otherwise."""
    with GraderPool(workers=1) as pool:
        right = pool.grade_many([(text, Problem("", "", gold, grader=kind)) for kind, text, gold, _ in cases])
    return [case[:3] for case, verdict in zip(cases, right, strict=True) if verdict is not case[3]]


def test_own_cases() -> None:
    assert judged([("math", text, gold, right) for _, text, gold, right in CASES]) == []


def test_all_of_the_collected_cases(data: Path) -> None:
    records = [json.loads(line) for line in (data / "grading_cases.jsonl").read_text(encoding="utf-8").splitlines()]
    assert judged([(item["grader"], item["text"], item["reference"], item["right"]) for item in records]) == []
