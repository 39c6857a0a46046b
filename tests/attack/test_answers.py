"""Hostile answers, through every grader and every reader: judged within the limit, and the next one is too.

What is decided in this process is watched by an alarm, as Ctrl-C would come: it must be over long before, and what
hangs would be interrupted. ERPRM_ATTACK has thousands of grown texts tried (`make attack`).
"""

import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from attack.answers import HOSTILE, grown
from attack.counts import LONG, attempt, count
from hypothesis import given, settings
from hypothesis import strategies as st

from erprm.grading import GraderPool, vote
from erprm.grading.extract import last_line, last_number
from erprm.grading.graders import GRADERS
from erprm.problems import Problem, load_problems

LIMIT = 1.0  # seconds an answer, of the pool; the readers have fifteen
OWN = [kind for kind, grader in GRADERS.items() if grader.compare is not None]
GOLDS = ("5", r"\frac{1}{3}", "(1,2)", r"x^2+1", "B")


@contextmanager
def watched(seconds: int = 15) -> Iterator[None]:
    """Ends what takes longer, as Ctrl-C would."""
    def end(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"took more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def pool() -> Iterator[GraderPool]:
    with GraderPool(workers=2, timeout=LIMIT) as pool:
        yield pool


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    """Every grader of ours with several references (one for algebra, which takes long), and verifiers."""
    ours = [Problem(f"{kind}-{gold}", "?", gold, grader=kind)
            for kind in OWN for gold in (GOLDS if LONG or kind != "math" else GOLDS[:1])]
    puzzles = [load_problems(f"reasoning-gym:{task}?size=1")[0]
               for task in ("countdown", "simple_integration", "n_queens", "leg_counting")]
    return ours + puzzles


def _read(text: str) -> None:
    for reader in (last_line, last_number, vote, *(grader.answer for grader in GRADERS.values())):
        found = reader(text)
        assert found is None or isinstance(found, str)


def test_every_reader_takes_every_hostile_text() -> None:
    for name, text in HOSTILE.items():
        with attempt("hostile answers, read"), watched():
            try:
                _read(text)
            except Exception as error:
                raise AssertionError(name) from error


def test_every_grader_judges_every_hostile_text(pool: GraderPool, problems: list[Problem]) -> None:
    """Each is wrong, or its reason is counted; two of these texts state the reference 5, oddly."""
    before = Counter(pool.report.reasons)
    asked = [(text, problems[(number + shift) % len(problems)]) for number, text in enumerate(HOSTILE.values())
             for shift in range(0, len(problems), 1 if LONG else 10)]
    verdicts = pool.verdicts([*asked, *(("The answer is 5", problem) for problem in problems[:1])])
    right = [text[:60] for (text, problem), verdict in zip(asked, verdicts, strict=False) if verdict.right
             and not (problem.answer == "5" and text in (HOSTILE["words"], HOSTILE["line separators"]))]
    count("hostile answers, graded", len(asked), len(asked) - len(right))
    assert not right
    assert verdicts[-1].right
    said = Counter(verdict.reason.partition(":")[0] for verdict in verdicts if verdict.reason)
    assert Counter(pool.report.reasons) - before == said


def test_a_hanging_answer_keeps_no_other_thread_waiting(pool: GraderPool) -> None:
    """Another thread's answers are judged while a worker is busy: the lock is not held for that."""
    easy = Problem("e", "?", "5", grader="math")
    with pool._at_workers:  # a worker is busy, for as long as this test likes
        thread_done = threading.Event()

        def judge() -> None:
            assert pool.grade_many([("The answer is 5", easy), ("The answer is 6", easy)]) == [True, False]
            thread_done.set()

        thread = threading.Thread(target=judge)
        thread.start()
        thread.join(20)
        assert thread_done.is_set()


def test_long_texts_are_read_by_a_worker_to_the_same_answer(pool: GraderPool) -> None:
    words = "so we go on and on\n" * 4000
    problems = [Problem(kind, "?", "B" if kind == "choice" else "7", grader=kind) for kind in OWN]
    texts = [f"{words}The answer is {problem.answer}" for problem in problems]
    verdicts = pool.verdicts(list(zip(texts, problems, strict=True)))
    assert [verdict.answer for verdict in verdicts] == [problem.answer for problem in problems]
    assert all(verdict.right for verdict in verdicts)


TEXTS = st.one_of(st.text(max_size=300), st.randoms(use_true_random=False).map(lambda seed: grown(seed, 3000)),
                  st.lists(st.sampled_from(sorted(HOSTILE)), min_size=1, max_size=3).map(
                      lambda names: " ".join(HOSTILE[name][:200] for name in names)))


@settings(max_examples=5000 if LONG else 100, deadline=None)
@given(TEXTS, st.one_of(st.sampled_from(GOLDS), TEXTS))
def test_any_text_is_read_and_compared(text: str, gold: str) -> None:
    with attempt("drawn answers, compared"), watched():
        _read(text)
        for kind in OWN:
            compare = GRADERS[kind].compare
            assert compare is not None
            assert compare(text[:500], gold[:500]) in (True, False, None)


def test_grown_texts_at_length(pool: GraderPool, problems: list[Problem]) -> None:
    """What was judged, right (a part may be the reference by chance), and given up, in numbers."""
    tried, seed = (3000 if LONG else 60), random.Random(0)
    asked = [(grown(seed, 50_000), seed.choice(problems)) for _ in range(tried)]
    for text, _ in asked:
        with watched():
            _read(text[:20_000])
    verdicts = pool.verdicts(asked)
    held = sum(verdict.right in (True, False) for verdict in verdicts)
    count("grown answers, graded", tried, held)
    print(f"\n{sum(bool(verdict.reason) for verdict in verdicts)} of {tried} grown answers state nothing or were given "
          f"up: {dict(Counter(verdict.reason.partition(':')[0] for verdict in verdicts if verdict.reason))}")
    assert held == tried
