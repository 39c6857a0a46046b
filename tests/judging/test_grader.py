"""A language model as a grader: real tiny models that answer a verdict or nonsense, and what a killed run keeps."""

import dataclasses
import json
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import tiny

from erprm.cli import main
from erprm.engines import Completion, Request, Sampling
from erprm.errors import InputError
from erprm.grading.composite import CompositePool
from erprm.judging.grader import LEAST, JudgeGrader
from erprm.judging.prompt import GradePrompt
from erprm.problems import Problem
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows, write_rows

PROMPT = GradePrompt("{question}\n{solution}\nRight? \\boxed{{yes}} or \\boxed{{no}}")
SUMS = [(f"It is {a + 2 - a % 2}.\n#### {a + 2 - a % 2}", Problem(f"p{a}", f"{a}+2?", str(a + 2), grader="numeric"))
        for a in range(30)]  # right for even a


class Reader:
    """Answers by a rule of the question; counts what it was asked, and stops after `most` answers."""

    def __init__(self, rule: Callable[[str], str], most: int | None = None) -> None:
        self.rule, self.most, self.asked, self.closed = rule, most, [], 0

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "reader 1"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        if self.most is not None and len(self.asked) + len(requests) > self.most:
            raise KeyboardInterrupt
        self.asked += [request.question for request in requests]
        return [[Completion(self.rule(request.question), "stop", 3)] for request in requests]

    def close(self) -> None:
        self.closed += 1


def checks(question: str) -> str:
    """Does the sum."""
    left, right = question.partition("+2?")[0], question.partition("It is ")[2].partition(".")[0]
    return f"Let me see. \\boxed{{{'yes' if int(left) + 2 == int(right) else 'No'}}}"


def judge_by(engine: Reader, place: Path, prompt: GradePrompt = PROMPT, **options: float) -> JudgeGrader:
    return JudgeGrader({"judge:ask.txt": prompt}, lambda: engine, Sampling(temperature=0.0, max_tokens=64), place,
                       **options)


def test_the_judge_is_a_part_beside_others(tmp_path: Path) -> None:
    engine = Reader(checks)
    with CompositePool("judge:ask.txt*0.75 + length*0.25", length_limit=1000, judge=judge_by(engine, tmp_path / "s"),
                       workers=1) as pool:
        verdicts = pool.verdicts([*SUMS, *SUMS[:5]])
    assert [verdict.reward for verdict in verdicts[:4]] == [1.0, 0.25, 1.0, 0.25]
    assert [verdict.right for verdict in verdicts[:4]] == [True, False, True, False]
    assert verdicts[0].parts == {"judge:ask.txt": 1.0, "length": 1.0}
    assert verdicts[3].answer == "4"
    assert len(engine.asked) == len(SUMS)
    assert engine.closed == 1


def test_nothing_is_judged_twice_after_a_kill_or_with_other_weights(tmp_path: Path) -> None:
    first, second, third = Reader(checks, most=16), Reader(checks), Reader(checks)
    with pytest.raises(KeyboardInterrupt), CompositePool(
            "judge:ask.txt", judge=judge_by(first, tmp_path / "s", part=8), workers=1) as pool:
        pool.verdicts(SUMS)
    assert len(first.asked) == 16
    with CompositePool("judge:ask.txt", judge=judge_by(second, tmp_path / "s", part=8), workers=1) as pool:
        whole = pool.verdicts(SUMS)
        assert pool.verdicts(SUMS) == whole
    assert len(first.asked + second.asked) == len(set(first.asked + second.asked)) == len(SUMS)
    with CompositePool("judge:ask.txt / 2", judge=judge_by(third, tmp_path / "s"), workers=1) as pool:
        assert [verdict.reward for verdict in pool.verdicts(SUMS)] == [verdict.reward / 2 for verdict in whole]
    assert third.asked == []


def test_answers_without_a_verdict_are_counted_and_too_many_refused(tmp_path: Path) -> None:
    def sometimes(question: str) -> str:
        return "I cannot say." if question.startswith(("4+", "8+")) else checks(question)

    with CompositePool("judge:ask.txt", judge=judge_by(Reader(sometimes), tmp_path / "a"), workers=1) as pool:
        verdicts = pool.verdicts(SUMS)
        assert "2 without a judge's verdict" in str(pool.report)
    assert [verdict.reward for verdict in verdicts[2:9:2]] == [1.0, 0.0, 1.0, 0.0]
    nonsense = Reader(lambda question: "I cannot say.")
    with CompositePool("judge:ask.txt", judge=judge_by(nonsense, tmp_path / "b"), workers=1) as pool:
        assert not any(verdict.reward for verdict in pool.verdicts(SUMS[:LEAST // 5]))
        with pytest.raises(InputError, match=r"5 of 5 answers have no verdict \(at most 20% may\).*'I cannot say.'"):
            pool.verdicts(SUMS[:LEAST // 5 + 1])


@pytest.mark.parametrize(("answer", "reward"), [
    (r"\boxed{yes}", 1.0), (r"\boxed{ Wrong }", 0.0), (r"\boxed{0.25}", 0.25), (r"\boxed{1}, no: \boxed{0}", 0.0),
    (r"\boxed{7}", None), (r"\boxed{perhaps}", None), ("yes", None), ("", None), (r"\boxed{" + "9" * 5000 + "}", None),
])
def test_how_a_reward_is_read(answer: str, reward: float | None) -> None:
    assert PROMPT.verdict(answer) == reward


def test_the_reference_answer_is_shown_where_asked_for() -> None:
    prompt = GradePrompt("{question} {solution} {answer}")
    assert prompt.of("It is {4}.", dataclasses.replace(SUMS[0][1], answer="5")) == "0+2? It is {4}. 5"


@pytest.fixture
def grade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`erprm grade` up to its reward: six solutions, half of them right."""
    monkeypatch.chdir(tmp_path)
    Path("problems.jsonl").write_text("".join(
        json.dumps({"id": one.id, "question": one.question, "answer": one.answer, "grader": "numeric"}) + "\n"
        for _, one in SUMS[:6]))
    write_rows("rows.jsonl", [StepRow(one.question, tuple(text.split("\n")), problem_id=one.id)
                              for text, one in SUMS[:6]])
    Path("ask.txt").write_text("{question}\n{solution}\n")
    return ["grade", "--rows", "rows.jsonl", "--problems", "problems.jsonl", "--out", "graded.jsonl", "--workers", "1",
            "--judge-max-tokens", "4", "--judge-store", "judge.store"]


@pytest.mark.parametrize("engine", [
    "transformers", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.xdist_group("vllm")])])
def test_a_model_that_answers_a_verdict_grades(engine: str, grade: list[str], tmp_path: Path) -> None:
    judge = tiny.writer(tmp_path / "judge", "1")
    words = [*grade, "--judge-policy", str(judge), "--judge-pattern", r"(1)", "--judge-engine", engine]
    assert main([*words, "--grader", "accuracy*0.5 + judge:ask.txt*0.5"]) == 0
    assert [row.outcome for row in read_rows("graded.jsonl")] == [1.0, 0.5] * 3
    before = [record for table in read_parts("judge.store") for record in table.to_pylist()]
    assert len(before) == 6
    assert {record["text"] for record in before} == {"1111"}
    assert main([*words, "--grader", "accuracy*0.25 + judge:ask.txt*0.75"]) == 0
    assert [row.outcome for row in read_rows("graded.jsonl")] == [1.0, 0.75] * 3
    assert [record for table in read_parts("judge.store") for record in table.to_pylist()] == before


def test_a_model_that_answers_nonsense_costs_rows_and_is_refused(grade: list[str], model_dir: Path,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    words = [*grade, "--judge-policy", str(model_dir), "--grader", "judge:ask.txt"]
    assert main(words) == 2
    assert "6 of 6 answers have no verdict" in capsys.readouterr().err
    assert main([*words, "--judge-malformed", "1"]) == 0
    assert "6 without a judge's verdict" in capsys.readouterr().out
    assert [row.outcome for row in read_rows("graded.jsonl")] == [0.0] * 6


def test_labels_by_a_judge_are_sampled_and_judged_once(grade: list[str], model_dir: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    judge = tiny.writer(tmp_path / "judge", "1")
    words = ["label", "--problems", "problems.jsonl", "--solutions", "rows.jsonl", "--out", "labels", "--n", "4",
             "--policy", str(model_dir), "--device", "cpu", "--max-tokens", "24", "--stop", *string.ascii_letters,
             "--judge-policy", str(judge), "--judge-pattern", "(1)", "--judge-max-tokens", "1",
             "--judge-store", "judge.store", "--workers", "1"]
    assert main([*words, "--grader", "judge:ask.txt * 0.5 + accuracy * 0.5"]) == 0
    shown = capsys.readouterr().out
    assert "judge:ask.txt 1.000" in shown
    completions = [record for table in read_parts("labels") for record in table.to_pylist()]
    asked = sum(table.num_rows for table in read_parts("judge.store"))
    assert len(completions) == 24
    assert {json.loads(record["parts"])["judge:ask.txt"] for record in completions if
            record["finish_reason"] == "stop"} == {1.0}
    assert main([*words, "--grader", "judge:ask.txt * 0.2 + accuracy * 0.8"]) == 0
    assert "0 completions sampled" in capsys.readouterr().out
    assert sum(table.num_rows for table in read_parts("judge.store")) == asked
    Path("ask.txt").write_text("{question}\n{solution}?\n")
    assert main([*words, "--grader", "judge:ask.txt * 0.2 + accuracy * 0.8"]) == 2
    assert "grader.judge" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "says"), [
    (["--grader", "judge:none.txt", "--judge-policy", "judge"], "judge prompt: none.txt: expected a file"),
    (["--grader", "judge:ask.txt", "--judge-policy", "judge", "--judge-pattern", "yes"], "expected a group"),
    (["--grader", "judge:rows.jsonl", "--judge-policy", "judge"], "judge prompt: expected text with {question}"),
    (["--grader", "judge:ask.txt", "--judge-policy", "judge", "--judge-engine", "oracle"], "transformers"),
    (["--grader", "judge:ask.txt", "--judge-policy", "./judge"], "judge"),
    (["--grader", "judge:ask.txt"], "expected --judge-policy"),
    (["--grader", "judge", "--judge-policy", "judge"], "judge:PROMPT_FILE"),
    (["--judge-policy", "judge"], "expected a --grader with judge:PROMPT_FILE"),
])
def test_what_is_missing_is_one_line(grade: list[str], words: list[str], says: str,
                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*grade, *words]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not Path("graded.jsonl").exists()
    assert not Path("judge.store").exists()
