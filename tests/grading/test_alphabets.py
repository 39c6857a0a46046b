"""No answer that could run anything reaches a verifier that evaluates answers; every right answer still does."""

import inspect
import re

import pytest
import reasoning_gym
from reasoning_gym.factory import DATASETS

from erprm.grading.alphabets import ANSWERS, FIELDS

EVALUATES = re.compile(r"\beval\(|\bexec\(|\bparse_expr\(|\bsympify\(")
# Where a task's code evaluates something else than an answer: its own expressions, or by a parser of its own.
ITS_OWN = {"basic_arithmetic", "chain_sum", "codeio", "gsm_symbolic", "propositional_logic", "bitwise_arithmetic",
           "number_sorting", "arithmetic"}


def test_every_task_whose_code_evaluates_is_known() -> None:
    """A newer reasoning-gym with another such verifier fails here, before it meets a policy's answers."""
    evaluating = set()
    for name, (kind, _) in DATASETS.items():
        for owner in kind.__mro__:
            if "score_answer" in vars(owner) and EVALUATES.search(inspect.getsource(inspect.getmodule(owner))):
                evaluating.add(name)
    assert evaluating - ITS_OWN == set(ANSWERS) - ITS_OWN


@pytest.mark.parametrize("name", sorted({*ANSWERS, *FIELDS}))
def test_right_answers_are_let_through(name: str) -> None:
    stream = reasoning_gym.create_dataset(name, size=30, seed=3)
    for entry in (stream[index] for index in range(30)):
        if name in ANSWERS:
            assert ANSWERS[name].holds(entry["answer"]), entry["answer"]
        if name in FIELDS:
            field, alphabet = FIELDS[name]
            text = entry["answer"] if field == "answer" else str(entry["metadata"][field])
            assert alphabet.holds(text), text


@pytest.mark.parametrize("hostile", [
    "2+3\n__import__('os').system('id')", "().__class__", "exec('1')", "open('x')", "[x for x in ()]", "lambda: 0",
    "a.b", "f(1)", "2 if 1 else 3", "'a'*9", '"a"', "1;2", "{1:2}", "x:=3", "@", "\\x41", "#", "`1`", "E.func",
    "Symbol(1)", "２+３", "1" * 20_000, "eval(1)", "print", "1_000", "0o17", "∞", "1\u20282",
])
def test_what_could_run_something_is_not(hostile: str) -> None:
    for name, alphabet in [*ANSWERS.items(), *((name, alphabet) for name, (_, alphabet) in FIELDS.items())]:
        if alphabet.holds(hostile):
            assert hostile == "f(1)", (name, hostile)  # letters are names of variables there, and f is none of SymPy's
    assert not ANSWERS["countdown"].holds(hostile)
    assert not ANSWERS["puzzle24"].holds(hostile)
