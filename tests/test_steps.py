"""Steps are spans of the text: nothing is lost, whatever the text and the splitter."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from erprm.errors import InputError
from erprm.splitters import block_is_open, choose_splitter
from erprm.steps import SPLITTERS, gaps_to_keep, join_steps, prefix_spans, prefix_text, split_steps

PIECES = st.sampled_from([
    "a", "So 3.5 is it. Then", "Step 1:", "**Step 2:**", "## Step 3", "1. ", "2. ", "\n", "\n\n", "\r\n", "\r", "\t",
    " ", "  \n", "\u2028", "\u00a0", "\x1e", "\x1f", "\\[", "\\]", "$$", "```", " ки", "<think>", "</think>",
    ". ", "。"])
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=20).map("".join)


@given(TEXTS, st.sampled_from(list(SPLITTERS)), st.booleans())
@example("", "newline", False)
@example(" \r\n\t", "paragraph", True)
@example("a\r\n\r\nb\u2028 \x1e", "blank-line", False)
def test_steps_and_gaps_are_the_text(text: str, splitter: str, skip: bool) -> None:
    steps = split_steps(text, splitter, skip_thinking=skip)
    assert join_steps(steps, splitter) == text
    assert join_steps(tuple(steps), splitter, gaps=steps.gaps) == text
    assert "".join(prefix_spans(steps, steps.gaps)) == text
    assert steps == [""] or all(step == step.strip() and step for step in steps)
    for length in range(len(steps) + 1):
        prefix = prefix_text(steps, length, splitter)
        assert text.startswith(prefix)
        assert length == 0 or steps[length - 1] in prefix


SOLUTIONS = {
    "newline": ("3*4=12\n2+12=14", ["3*4=12", "2+12=14"]),
    "paragraph": ("We have\n\n\\[\nx = 1\n\n+ 2\n\\]\n\n```py\nx = 1\n\ny = 2\n```\n\nSo 3.",
                  ["We have", "\\[\nx = 1\n\n+ 2\n\\]", "```py\nx = 1\n\ny = 2\n```", "So 3."]),
    "step": ("Let's see.\n**Step 1:** Add.\n\n1. x\n2. y\n## Step 2\nDone.",
             ["Let's see.", "**Step 1:** Add.\n\n1. x\n2. y", "## Step 2\nDone."]),
    "sentence": ("It is 3.5, i.e. more. Mr. X has 5. So 6! Yes",
                 ["It is 3.5, i.e. more.", "Mr. X has 5.", "So 6!", "Yes"]),
    "tag": ("a ки\nb ки", ["a", "b"]),
    "blank-line": ("a\nb\n \nc", ["a\nb", "c"]),
    "step-k": ("Step 1: a\nb\nStep 2: c", ["Step 1: a\nb", "Step 2: c"]),
}


@pytest.mark.parametrize("name", SPLITTERS)
def test_each_splitter_knows_its_texts(name: str) -> None:
    text, steps = SOLUTIONS[name]
    assert split_steps(text, name) == steps


def test_numbers_count_where_no_step_is_named() -> None:
    assert split_steps("Plan:\n1. a\n   1. b\n2. c\n7. d\n3) e", "step") == [
        "Plan:", "1. a\n   1. b", "2. c\n7. d", "3) e"]


def test_thinking_is_split_inside_or_no_step() -> None:
    text = "<think>\nLet me see.\n\nIt is 4.\n</think>\n\nSo 4."
    assert split_steps(text, "paragraph") == ["Let me see.", "It is 4.", "So 4."]
    answer = split_steps(text, "paragraph", skip_thinking=True)
    assert answer == ["So 4."]
    assert prefix_text(answer, 1) == text
    begun_by_the_template = "Let me see.\n</think>\nSo 4."
    assert split_steps(begun_by_the_template, skip_thinking=True) == ["So 4."]
    assert split_steps("<think>\nfor ever", skip_thinking=True) == [""]


def test_a_step_ends_at_its_line_break_and_spaces_lead_the_next_one() -> None:
    steps = split_steps(" Tom has 5.\n\n  He eats 2.\n")
    assert [prefix_text(steps, length) for length in (1, 2)] == [" Tom has 5.\n\n", " Tom has 5.\n\n  He eats 2.\n"]
    assert prefix_text(split_steps("First. Second.", "sentence"), 1) == "First."


def test_rows_keep_what_a_line_break_would_lose() -> None:
    assert gaps_to_keep(split_steps("a\nb"), finished=True) is None
    for text, finished in (("a\n\nb", True), (" a", True), ("a\n", True), ("a\nb", False)):
        assert gaps_to_keep(split_steps(text), finished) is not None


def test_most_solutions_choose() -> None:
    assert choose_splitter(["Step 1: a\nStep 2: b", "x\n\ny", "x\n\nz\nw", "one line"]) == (
        "paragraph", {"paragraph": 2, "step": 1})
    assert choose_splitter(["one line"]) == ("newline", {})
    assert choose_splitter(["<think>a\n\nb</think>c\nd"])[0] == "newline"


def test_a_formula_without_its_end_is_open() -> None:
    assert block_is_open("We have\n\\[\nx\n\n")
    assert not block_is_open("We have\n\\[\nx\\]\n\n$$y$$ a\\\\[4pt]")


def test_long_texts_of_one_kind_end() -> None:
    for piece in (".", "\n", " ", "\\[", "```\n", "1. ", "$$", "\n \n", "<think>", "。", "a.b", "Step 1", ". a"):
        text = piece * (200_000 // len(piece))
        for splitter in SPLITTERS:
            assert join_steps(split_steps(text, splitter)) == text


def test_an_unknown_splitter_is_named() -> None:
    with pytest.raises(InputError, match=r"splitter: expected one of newline, .* found 'lines'"):
        split_steps("a", "lines")
