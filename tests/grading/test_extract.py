"""What is taken for the answer of a text, and what is not."""

import pytest

from erprm.grading import extract_answer, vote


@pytest.mark.parametrize(("text", "answer"), [
    (r"so the result is $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}"),
    (r"\boxed{\{1\pm\sqrt{5},-2\}}", r"\{1\pm\sqrt{5},-2\}"),
    (r"first \boxed{3}, corrected: \fbox{4}", "4"),
    (r"the digit is \boxed 7", "7"),
    ("2*9=18\n#### 1,234,567", "1,234,567"),
    ("#### Step 1\nadd\nThe answer is 5", "5"),
    ("The answer is 3.4.", "3.4"),
    ("The final answer is: $18 per day.", "$18 per day"),
    ("The answer is -1,200.50", "-1,200.50"),
    ("The answer is 0", "0"),
    ("#### 0", "0"),
    (r"\boxed{0}", "0"),
    ("**Answer:** (B)", "(B)"),
    ("The final answer is **5**.", "5"),
    ("Answer:\n\n\\frac12", r"\frac12"),
    ("<answer>7</answer> is what I found", "7"),
    ("The answer is 18 dollars because 9*2=18", "18 dollars"),
    ("The answer is (6-2)*4+1", "(6-2)*4+1"), (r"The answer is 11,\! 100.", r"11,\! 100"),
    ("-3.5", "-3.5"),
    ("x=5", "x=5"),
    ("5 apples", "5 apples"),
])
def test_answers(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize("text", [
    "", "   \n", "The answer is", "The answer is ", "Answer:", "#### ", r"\boxed{12", r"\boxed{}",
    r"The answer is $\boxed{\frac{1}{2}$", "She sells 9 eggs for 2", "3*4=12", "16 - 3 - 4 = 9 duck eggs",
    "First we add 3 and 4.\nThat makes 7",
])
def test_unfinished_texts_have_no_answer(text: str) -> None:
    """An intermediate number is never the answer."""
    assert extract_answer(text) is None


@pytest.mark.parametrize(("left", "right", "same"), [
    (r"\dfrac{1}{2}", r"\frac12", True), (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})", True),
    (r"\text{(C)}", "C", True), (r"\text{east}", "East", True), ("x", "X", False), ("1.50", "3/2", True),
    (r"90^\circ", "90^{\\circ}", True), ("(1,234)", "1234", False), ("ab", "ba", True), ("0.5", r"\frac12", True),
    ("2, 1", "1,2", True), ("(B) 12", "B", True), ("(B) 12", "(C) 12", False), ("6:8", "3:4", True),
    ("3:30", "1:10", False), ("0.666...", "2/3", True), ("i^2", "-1", True), ("2 h 30 min", "2.5", True),
])
def test_one_vote_for_all_spellings(left: str, right: str, same: bool) -> None:
    assert (vote(left) == vote(right)) is same


@pytest.mark.parametrize(("text", "answer"), [
    ("La respuesta correcta a la pregunta es la B.", "B"), ("Die Antwort ist 42, da wir 6 mal 7 rechnen.", "42"),
    ("La réponse est 3,5 km.", "3{,}5 km"), ("Ответ: 1.234,50", "1234{,}50"), ("La respuesta es 3,500.", "3,500"),
    ("答えは3,5です。", "3,5"), ("The answer is 3,5.", "3,5"), ("La respuesta que buscamos\ndepende de 42", None),
    ("La risposta è 42.\nQuesta risposta è corretta.", "42"),
    ("so the answer is one hundred and five", "one hundred and five"),
    ("one hundred and five apples", "one hundred and five apples"),
])
def test_announcements_in_other_languages_and_words(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer
