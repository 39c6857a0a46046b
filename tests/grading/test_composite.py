"""Graded and composed rewards: scores between 0 and 1, the small expression over graders, and what it refuses."""

from pathlib import Path

import pytest

from erprm.errors import InputError
from erprm.grading import GraderPool
from erprm.grading.composite import Composite, CompositePool
from erprm.grading.parts import PartsReport
from erprm.problems import Problem

SUM = Problem("p", "2+2?", "4", grader="numeric")
THINKING = r"<think>.*</think>\s*#### \d+"


@pytest.mark.parametrize(("text", "parts", "value"), [
    ("accuracy*0.8+format*0.2", {"accuracy": 1.0, "format": 0.0}, 0.8),
    ("accuracy * 0.8 + format * 0.2", {"accuracy": 0.5, "format": 1.0}, 0.6),
    ("accuracy * (1 - length/2)", {"accuracy": 1.0, "length": 0.5}, 0.75),
    ("min(math, numeric)", {"math": 1.0, "numeric": 0.25}, 0.25),
    ("max(exact, choice)/2", {"exact": 0.0, "choice": 1.0}, 0.5),
    ("(reasoning-gym:countdown + python:my.py:check) / 2", {"reasoning-gym:countdown": 1.0,
                                                           "python:my.py:check": 0.5}, 0.75),
    ("1 - accuracy/(1 + format)", {"accuracy": 1.0, "format": 1.0}, 0.5),
])
def test_expressions_are_read_and_evaluated(text: str, parts: dict[str, float], value: float) -> None:
    found = Composite.read(text)
    assert set(found.parts) == set(parts)
    assert found.value(parts) == pytest.approx(value)


@pytest.mark.parametrize(("text", "says"), [
    ("accuracy + fluency", "expected accuracy, format, length, judge:PROMPT_FILE or one of math, .*, found 'fluency'"),
    ("accuracy / format", "division by what can be 0"),
    ("accuracy / 0", "division by what can be 0"),
    ("accuracy + format", r"within \[0, 1\], found 0 to 2"),
    ("accuracy - format*0.5", r"within \[0, 1\], found -0.5 to 1"),
    ("accuracy.real", "found Attribute"),
    ("accuracy ** 2", "found BinOp"),
    ("print(accuracy)", "found 'print'"),
    ("min(accuracy)", "found Call"),
    ("accuracy if format else length", "found no such expression|found IfExp"),
    ("__import__('os')", "found '__import__'"),
    ("accuracy +", "found no such expression"),
    ("0.5", "at least one grader's name"),
    ("'1' * accuracy", "found Constant"),
])
def test_what_no_reward_is_made_of_is_one_line(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        Composite.read(text)
    assert "\n" not in str(raised.value)


def test_every_part_is_kept_beside_the_total(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def half(text, problem):\n    return 0.5\n")
    expression = f"accuracy*0.5 + format*0.2 + python:{tmp_path}/mine.py:half*0.2 + length*0.1"
    with CompositePool(expression, format_pattern=THINKING, length_limit=20, workers=1) as pool:
        good, bare, wrong = pool.verdicts([("<think>2+2</think>\n#### 4", SUM), ("#### 4", SUM), ("x" * 30, SUM)])
    half = f"python:{tmp_path}/mine.py:half"
    assert good.parts == {"accuracy": 1.0, "format": 1.0, half: 0.5, "length": 1.0}
    assert good.reward == pytest.approx(0.9)
    assert (good.right, bare.right, wrong.right) == (True, True, False)
    assert (bare.parts["format"], bare.answer) == (0.0, "4")
    assert wrong.reward == pytest.approx(0.1 + 0.05)
    assert pool.total(0.0, {**good.parts, "accuracy": 0.0}) == pytest.approx(0.4)
    assert pool.unsaid(good).reward == pytest.approx(0.3)  # the form stays, what the answer earned does not


@pytest.mark.parametrize(("options", "says"), [
    ({"expression": "format"}, "expected a format_pattern for 'format'"),
    ({"expression": "length"}, "expected a length_limit for 'length'"),
    ({"expression": "format", "format_pattern": "("}, "expected a regular expression"),
    ({"expression": "length", "length_limit": 0}, "at least 1 character")])
def test_a_part_without_its_option_is_one_line(options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        CompositePool(**options)


def test_a_task_gives_partial_credit_where_it_is_asked_for() -> None:
    from erprm.problems import load_problems

    problem = load_problems("reasoning-gym:knights_knaves?size=1&seed=3&n_people=3")[0]
    roles = problem.metadata["knight_knave_terms"]
    last = problem.answer.rpartition(" ")[2].removesuffix(".")
    other = roles["knave"] if last == roles["knight"] else roles["knight"]
    wrong = f"{problem.answer.removesuffix(last + '.')}{other}."  # of one of three islanders
    with GraderPool(workers=1, graded=True) as graded, GraderPool(workers=1) as strict:
        whole, half = graded.verdicts([(problem.answer, problem), (wrong, problem)])
        assert (whole.reward, whole.right) == (1.0, True)
        assert 0.0 < half.reward < 1.0
        assert not half.right
        assert [verdict.reward for verdict in strict.verdicts([(problem.answer, problem), (wrong, problem)])] == [1, 0]


def test_a_function_that_leaves_the_range_is_counted(tmp_path: Path) -> None:
    (tmp_path / "far.py").write_text("def check(text, problem):\n    return 2.0\n")
    problem = Problem("p", "?", "", grader=f"python:{tmp_path}/far.py:check")
    with GraderPool(workers=1, graded=True) as pool:
        [verdict] = pool.verdicts([("x", problem)])
    assert (verdict.reward, verdict.right) == (0.0, False)
    assert "expected a number in [0, 1], found 2.0" in verdict.reason


def test_the_report_says_when_a_part_is_earned_without_being_right() -> None:
    report = PartsReport()
    for number in range(200):
        right = number % 5 == 0
        report.add({"accuracy": float(right), "format": 1.0, "length": 0.2 if right else 0.9})
    said = str(report)
    assert "accuracy 0.200; format 1.000" in said
    assert "format is satisfied by 100.0% while accuracy is 0.200" in said
    assert "length goes against accuracy" in said
    assert report.correlation("length") == pytest.approx(-1.0)
    assert str(PartsReport()) == ""
