"""A language model as judge: what it is asked, how a verdict is read; no answer is lost or asked for twice."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from erprm.cli import main
from erprm.engines import Completion, Request, Sampling
from erprm.errors import InputError
from erprm.judging.judges import NoVerdictError, judge_rows
from erprm.judging.llm import ask
from erprm.judging.prompt import JudgePrompt
from erprm.judging.verdicts import first_wrong
from erprm.rows import StepRow, write_rows

ROWS = [StepRow(f"{a}+1?", (f"{a}+1={a + (a % 3 == 0)}", "so there", f"The answer is {a}"), solution_id=str(a))
        for a in range(12)]
SAMPLING = Sampling(temperature=0.0, max_tokens=64)


class Reader:
    """Answers by a rule of (question, seed); counts what it was asked, and stops after `most` answers."""

    def __init__(self, rule: Callable[[str, int], str], most: int | None = None) -> None:
        self.rule, self.most, self.asked = rule, most, []

    def fingerprint(self) -> dict[str, str]:
        return {"engine": "reader 1"}

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        if self.most is not None and len(self.asked) + len(requests) > self.most:
            raise KeyboardInterrupt
        self.asked += [request.question for request in requests]
        return [[Completion(self.rule(request.question, request.seed), "stop", 3)] for request in requests]

    def close(self) -> None:
        pass


def sums(question: str, seed: int) -> str:
    """Finds the first step wrong where the sum is."""
    step = question.partition("<step 0>\n")[2].partition("\n")[0]
    left, _, right = step.partition("=")
    return f"Step 0 says {step}.\n\\boxed{{{-1 if eval(left) == int(right) else 0}}}"


def test_verdicts_are_those_that_the_model_boxes(tmp_path: Path) -> None:
    engine = Reader(sums)
    verdicts, report = judge_rows(ROWS, ask(ROWS, engine, SAMPLING, tmp_path / "s", JudgePrompt(), part=5), "llm")
    assert [first_wrong(verdict) for verdict in verdicts] == [None if a % 3 == 0 else 0 for a in range(12)]
    assert (report.wrong, report.clean) == (8, 4)
    assert "4+1?" in engine.asked[4]
    assert "<step 1>\nso there\n</step 1>" in engine.asked[4]
    assert all(verdict.extra["judge"] == "llm" for verdict in verdicts)


def test_an_interrupted_judge_goes_on_and_equal_solutions_are_asked_once(tmp_path: Path) -> None:
    rows = [*ROWS, *ROWS[:3]]
    first = Reader(sums, most=6)
    with pytest.raises(KeyboardInterrupt):
        ask(rows, first, SAMPLING, tmp_path / "s", JudgePrompt(), part=3)
    second = Reader(sums)
    judge = ask(rows, second, SAMPLING, tmp_path / "s", JudgePrompt(), part=3)
    assert len(first.asked) == 6
    assert sorted(first.asked + second.asked) == sorted(JudgePrompt().of(row) for row in ROWS)
    assert len(judge_rows(rows, judge, "llm")[0]) == len(rows)
    third = Reader(sums)
    ask(rows, third, SAMPLING, tmp_path / "s", JudgePrompt())
    assert third.asked == []


def test_answers_that_name_no_step_are_counted_and_too_many_refused(tmp_path: Path) -> None:
    def sometimes(question: str, seed: int) -> str:
        return "I cannot say." if question.find("\n7+1?\n") > 0 else sums(question, seed)

    judge = ask(ROWS, Reader(sometimes), SAMPLING, tmp_path / "a", JudgePrompt())
    verdicts, report = judge_rows(ROWS, judge, "llm")
    assert len(verdicts) == 11
    assert report.skipped == {"with answers that name no step": 1}
    with pytest.raises(InputError, match=r"12 of 12 answers name no step \(at most 20% may\).*'I cannot say.'"):
        ask(ROWS, Reader(lambda question, seed: "I cannot say."), SAMPLING, tmp_path / "b", JudgePrompt())


def test_votes_decide_and_ties_do_not(tmp_path: Path) -> None:
    def rule(question: str, seed: int) -> str:
        return f"\\boxed{{{'0' if seed % 3 else '-1'}}}"  # three neighbouring seeds: two say 0, one says -1

    verdicts, _ = judge_rows(ROWS, ask(ROWS, Reader(rule), SAMPLING, tmp_path / "a", JudgePrompt(votes=3)), "llm")
    assert [first_wrong(verdict) for verdict in verdicts] == [0] * 12
    judge = ask(ROWS[:1], Reader(lambda question, seed: f"\\boxed{{{seed % 2}}}"), SAMPLING, tmp_path / "b",
                JudgePrompt(votes=2))
    with pytest.raises(NoVerdictError, match="as many votes"):
        judge(ROWS[0])


@pytest.mark.parametrize(("answer", "verdict"), [
    (r"\boxed{2}", 2), (r"\boxed{ -1 }", -1), (r"\boxed{0} no, \boxed{1}", 1), (r"\boxed{3}", None),
    (r"\boxed{-2}", None),
    ("", None), ("2", None), (r"\boxed{" + "9" * 5000 + "}", None), (r"\boxed{²}", None),
])
def test_how_a_verdict_is_read(answer: str, verdict: int | None) -> None:
    assert JudgePrompt().verdict(answer, 3) == verdict


@pytest.mark.parametrize(("bad", "says"), [
    ({"text": "no fields"}, "expected the field {question}"), ({"text": "{question} {steps} {other}"}, "'other'"),
    ({"pattern": r"\d+"}, "expected a group"), ({"pattern": "("}, "verdict pattern"), ({"votes": 0}, "at least 1"),
])
def test_a_bad_prompt_is_one_line(bad: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        JudgePrompt(**bad)


def test_another_prompt_needs_another_store(tmp_path: Path) -> None:
    ask(ROWS[:2], Reader(sums), SAMPLING, tmp_path / "s", JudgePrompt())
    with pytest.raises(InputError, match="prompt"):
        ask(ROWS[:2], Reader(sums), SAMPLING, tmp_path / "s", JudgePrompt(text="{question} {steps}"))


def test_the_command_asks_a_real_model(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    """The tiny model's answers are noise: none names a step, which is refused at the usual share and counted at 1."""
    monkeypatch.chdir(tmp_path)
    write_rows("rows.parquet", ROWS[:3])
    Path("ask.txt").write_text("{question}\n{steps}\n")
    words = ["judge", "--rows", "rows.parquet", "--judge", "llm", "--policy", str(model_dir), "--max-tokens", "4",
             "--judge-prompt", "ask.txt", "--out", "verdicts.parquet"]
    assert main(words) == 2
    assert "3 of 3 answers name no step" in capsys.readouterr().err
    assert main([*words, "--malformed", "1"]) == 2
    assert "3 with answers that name no step" in capsys.readouterr().out
    assert main([*words, "--verdict-pattern", "()"]) == 2
    assert not Path("verdicts.parquet").exists()
