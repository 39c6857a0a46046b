"""Benchmarks judged from published score files, and thresholds that a development split chooses."""

import json
from pathlib import Path

import numpy as np
import pytest

from erprm.cli import main
from erprm.evaluation.benchmarks import development_split, prmbench, processbench
from erprm.evaluation.processbench import evaluate_processbench
from erprm.rows import StepRow


def write(path: Path, records: list[dict]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def process_records(problems: int) -> tuple[list[dict], list[dict]]:
    """Two solutions to each problem, one wrong at its second step; a scorer that puts 0.3 between right and wrong."""
    rng = np.random.default_rng(0)
    records, scores = [], []
    for number in range(2 * problems):
        wrong = number % 2 == 0
        records.append({"id": f"g-{number}", "problem": f"problem {number // 2}", "steps": ["a", "b", "c"],
                        "final_answer_correct": not wrong, "label": 1 if wrong else -1})
        low = rng.uniform(0.1, 0.28) if wrong else rng.uniform(0.32, 0.45)
        scores.append({"id": f"g-{number}", "scores": [0.9, low, 0.8]})
    return records, scores


def test_processbench_from_a_score_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records, scores = process_records(40)
    files = write(tmp_path / "bench.jsonl", records), write(tmp_path / "scores.jsonl", scores[::-1])
    assert main(["evaluate", "--processbench", files[0], "--scores", files[1], "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["processbench"]
    assert found["fixed"]["f1"] == 0.0, "at 0.5 no right solution passes"
    split = found["development"]
    assert split["f1"] > 0.9
    assert 0.25 < split["threshold"] < 0.33
    assert (split["chosen_on"], split["solutions"], split["wrong"]) == (16, 64, 32)
    assert "chosen on 16 solutions, the other 64: F1" in capsys.readouterr().out
    assert main(["evaluate", "--processbench", files[0], "--scores", files[1], "--threshold", "0.3", "--out",
                 str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["processbench"]
    assert list(found) == ["fixed"]
    assert found["fixed"]["f1"] == 1.0


def test_prmbench_keeps_empty_steps_with_their_scores(tmp_path: Path) -> None:
    records = [{"modified_question": f"q{number}", "modified_process": ["a", "", "c"], "error_steps": [2],
                "idx": f"circular_{number}", "classification": "circular"} for number in range(10)]
    scores = [{"id": record["idx"], "scores": [0.9, 0.6, 0.8]} for record in records]
    assert main(["evaluate", "--prmbench", write(tmp_path / "bench.jsonl", records), "--scores",
                 write(tmp_path / "scores.jsonl", scores), "--out", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())["prmbench"]
    assert found["fixed"]["overall"]["steps"] == 30
    assert found["fixed"]["overall"]["wrong_steps"] == 10
    assert found["fixed"]["overall"]["f1_wrong"] == 0.0
    assert found["development"] is None, "every solution has a wrong step"


def test_the_threshold_of_prmbench_is_chosen_on_other_problems() -> None:
    rows = [StepRow(f"q{number}", ("a", "b"), labels=(1.0, float(number % 2)), solution_id=str(number),
                    extra={"classification": "circular"}) for number in range(40)]
    scores = [np.array([0.4, 0.4 if row.labels == (1.0, 1.0) else 0.2]) for row in rows]
    found = prmbench(rows, scores, None, 0.25, seed=1)
    assert found["fixed"]["overall"]["f1_right"] == 0.0
    assert found["development"]["classes"]["overall"]["score"] == 1.0
    assert found["development"]["threshold"] == 0.3  # of 0.2 to 0.39, which all serve
    assert (found["development"]["chosen_on"], found["development"]["solutions"]) == (10, 30)


def test_no_problem_is_on_both_sides_of_the_split() -> None:
    rows = [StepRow(f"q{number % 7}", ("a",), labels=(1.0,)) for number in range(70)]
    chosen, rest = development_split(rows, 0.3, seed=3)
    assert sorted(chosen + rest) == list(range(70))
    assert {rows[index].prompt for index in chosen}.isdisjoint(rows[index].prompt for index in rest)
    assert len(chosen) == 30


def test_an_optimistic_threshold_is_not_the_number() -> None:
    """Noise scores: the threshold's own rows flatter it, the other rows do not."""
    rng = np.random.default_rng(5)
    rows = [StepRow(f"q{number}", ("a", "b", "c"), labels=(1.0, 1.0, 1.0) if number % 2 else (1.0, 0.0, None))
            for number in range(60)]
    gaps = []
    for seed in range(20):
        scores = [rng.random(3) for _ in rows]
        found = processbench(rows, scores, None, 0.3, seed)
        assert found["own_best"]["f1"] >= evaluate_processbench(rows, scores, 0.5).f1
        gaps.append(found["own_best"]["f1"] - found["development"]["f1"])
    assert np.mean(gaps) > 0.05


@pytest.mark.parametrize(("change", "words"), [
    (lambda scores: scores[1:], "found none for 1 of 8; the first is 'g-0'"),
    (lambda scores: [*scores, {"id": "x", "scores": [0.1]}], "scores.jsonl:9: id 'x': "),
    (lambda scores: [*scores, scores[2]], "scores.jsonl:9: id 'g-2': given twice, first in line 3"),
    (lambda scores: [{"id": "g-0", "scores": [0.1, 0.2]}, *scores[1:]], "id 'g-0': expected 3 scores, one per"),
    (lambda scores: [{"id": "g-0", "scores": [0.1, 1.2, 0.1]}, *scores[1:]], "expected numbers in [0, 1], found 1.2"),
    (lambda scores: [{"id": "g-0", "scores": [0.1, None, 0.1]}, *scores[1:]], "expected a list of numbers"),
    (lambda scores: [{"scores": [0.1, 0.2, 0.1]}, *scores[1:]], "scores.jsonl:1: id: expected the id of a solution"),
])
def test_score_files_that_do_not_fit_are_refused(change, words: str, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    records, scores = process_records(4)
    assert main(["evaluate", "--processbench", write(tmp_path / "bench.jsonl", records), "--scores",
                 write(tmp_path / "scores.jsonl", change(scores)), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
