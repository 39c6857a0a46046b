"""What a format can hold comes back as it was: property tests over rows that hold every kind of step and label."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm.errors import InputError
from erprm.formats import FORMATS, Options, read, write
from erprm.rows import StepRow

# Signs, tags in Latin letters, several lines, LaTeX and numbers; nothing that would end a step.
WORD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=6).filter(
    lambda word: "ки" not in word and word.strip() == word)
LINE = st.lists(WORD | st.sampled_from(["+", "-", "ki", "Step", r"\frac{1}{2}"]), min_size=1, max_size=5).map(" ".join)
PARAGRAPH = st.lists(LINE, min_size=1, max_size=3).map("\n".join)
PROMPT = PARAGRAPH.filter(lambda text: "Step 1:" not in text)
SIGN = st.sampled_from([0.0, 1.0])
SOFT = st.floats(0, 1)


@st.composite
def rows(draw: st.DrawFn, label: st.SearchStrategy[float | None], numbered: bool = False) -> StepRow:
    steps = draw(st.lists(PARAGRAPH, min_size=1, max_size=4, unique=True))
    if numbered:
        steps = [f"Step {index}: {step}" for index, step in enumerate(steps, start=1)]
    labels = draw(st.lists(label, min_size=len(steps), max_size=len(steps)))
    return StepRow(prompt=draw(PROMPT), steps=tuple(steps), labels=tuple(labels))


def there_and_back(given_rows: list[StepRow], name: str, options: Options | None = None) -> list[StepRow]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        assert write(path, name, given_rows, options=options).dropped == {}
        reader = read(path, name, strict=True, options=options)
        found = list(reader)
        assert reader.report.rows == len(given_rows)
        return found


CASES = {
    "erprm": rows(SOFT | st.none()), "trl": rows(SOFT), "math-shepherd": rows(SIGN, numbered=True),
    "er-prm": rows(SOFT, numbered=True), "openrlhf": rows(SOFT, numbered=True), "rlhflow": rows(SIGN, numbered=True),
    "prm800k": rows(SIGN | st.none()), "prmbench": rows(SIGN),
}


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_rows_come_back(name: str, data: st.DataObject) -> None:
    given_rows = data.draw(st.lists(CASES[name], min_size=1, max_size=3))
    found = there_and_back(given_rows, name, Options(neutral="none"))
    assert [replace(row, extra={}, solution_id="") for row in found] == given_rows


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_first_wrong_step_comes_back(data: st.DataObject) -> None:
    row = data.draw(rows(st.just(1.0)))
    first = data.draw(st.integers(-1, len(row.steps) - 1))
    marks = [1.0] * len(row.steps) if first < 0 else [1.0] * first + [0.0] + [None] * (len(row.steps) - first - 1)
    given_row = replace(row, labels=tuple(marks), outcome=float(first < 0), solution_id="gsm8k-0",
                        extra={"generator": "model"})
    assert there_and_back([given_row], "processbench") == [given_row]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ["rlhflow-bon", "search-and-learn"])
def test_candidates_come_back(name: str, data: st.DataObject) -> None:
    prompts = data.draw(st.lists(PROMPT, min_size=1, max_size=3, unique=True))
    given_rows = []
    for prompt in prompts:
        for row in data.draw(st.lists(rows(SIGN), min_size=1, max_size=3)):
            given_rows.append(StepRow(prompt=prompt, steps=row.steps, outcome=data.draw(SIGN)) if name == "rlhflow-bon"
                              else StepRow(prompt=prompt, steps=row.steps, gold="5",
                                           scores=tuple(row.labels or ()), extra={"pred": "5"}))
    assert there_and_back(given_rows, name) == given_rows


@settings(max_examples=40, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ["math-aps", "math-aps-tree"])
def test_trees_of_values_come_back(name: str, data: st.DataObject) -> None:
    """Solutions that share their first step and its value: one node, two leaves."""
    first, left, right = data.draw(st.lists(LINE, min_size=3, max_size=3, unique=True))
    values = data.draw(st.lists(st.integers(0, 32), min_size=3, max_size=3))
    base = StepRow(prompt=data.draw(LINE), steps=("?",), finished=False, gold="7", extra={"root_value": 0.5})
    given_rows = [replace(base, steps=(first, last), successes=(values[0], value), trials=(32, 32))
                  for last, value in ((left, values[1]), (right, values[2]))]
    assert there_and_back(given_rows, name, Options(trials=32)) == given_rows


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "erprm"])
def test_a_weight_is_not_lost_in_a_format_that_has_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"row 1: weight: expected rows of weight 1, since the format {name} has"):
        write(tmp_path / "out.jsonl", name, [StepRow("q", ("a",), labels=(1.0,), outcome=1.0, weight=2.0)])


def test_every_format_has_a_round_trip() -> None:
    assert set(FORMATS) == {*CASES, "processbench", "rlhflow-bon", "search-and-learn", "math-aps", "math-aps-tree"}
