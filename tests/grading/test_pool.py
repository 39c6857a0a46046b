"""The worker processes: each distinct pair once, and nothing that an answer does can stop the run."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from erprm.errors import InputError
from erprm.grading import GraderPool
from erprm.problems import Problem

GRADERS = '''
import os, pathlib, sys

def check(text, problem):
    with open(problem.metadata["log"], "a") as log:
        log.write(text + "\\n")
    print("a grader that prints")
    if text == "hang":
        while True:
            pass
    if text == "die" or (text == "die once" and not os.path.exists(problem.metadata["log"] + ".died")):
        pathlib.Path(problem.metadata["log"] + ".died").touch()
        os._exit(3)
    if text == "signal":
        pathlib.Path(problem.metadata["fifo"]).write_text("here")
        while True:
            pass
    if text == "raise":
        raise ValueError("no")
    if text == "big":
        return len(bytearray(2**40)) > 0
    return text == problem.answer

def partly(text, problem):
    return 0.5
'''


@pytest.fixture
def problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Problem:
    (tmp_path / "mygraders.py").write_text(GRADERS)
    monkeypatch.syspath_prepend(tmp_path)
    return Problem("0", "?", "yes", grader="python:mygraders:check", metadata={"log": str(tmp_path / "log")})


def calls(problem: Problem) -> list[str]:
    return Path(problem.metadata["log"]).read_text().splitlines()


def test_equal_pairs_are_graded_once(problem: Problem) -> None:
    texts = [f"text {index % 40}" for index in range(5000)] + ["yes"]
    with GraderPool(workers=2) as pool:
        assert pool.grade_many([(text, problem) for text in texts]) == [False] * 5000 + [True]
        assert sorted(calls(problem)) == sorted(set(texts))
        pool.grade_many([(text, problem) for text in texts])  # remembered
        assert len(calls(problem)) == 41
        assert (pool.report.answers, pool.report.distinct, pool.report.calls) == (10002, 41, 41)


def test_spellings_are_compared_without_a_worker() -> None:
    """5,000 completions with few distinct answers: math-verify is asked only where algebra is needed."""
    problem = Problem("0", "?", r"2\sqrt{2}")
    spellings = [r"\boxed{2\sqrt{2}}", r"The answer is $2 \sqrt 2$.", r"\boxed{\sqrt{8}}", "#### 3",
                 r"\boxed{\sqrt[3]{16\sqrt{2}}}"]
    with GraderPool(workers=1) as pool:
        right = pool.grade_many([(f"{spellings[i % 5]}", problem) for i in range(5000)])
        assert right == [True, True, True, False, True] * 1000
        assert pool.report.calls == 1  # a root of a root


def test_hanging_dying_and_raising_answers_are_wrong_and_the_rest_is_graded(problem: Problem) -> None:
    texts = ["yes", "hang", "no", "die", "raise", "big", "yes", "die once", *[f"no {index}" for index in range(30)],
             "yes"]
    with GraderPool(workers=2, timeout=1.0) as pool:
        verdicts = pool.verdicts([(text, problem) for text in texts])
        assert [verdict.right for verdict in verdicts] == [text == "yes" for text in texts]
        reasons = {text: verdict.reason.partition(":")[0] for text, verdict in zip(texts, verdicts, strict=True)}
        assert {text: reason for text, reason in reasons.items() if reason} == {
            "hang": "timeout", "die": "crash", "raise": "error", "big": "error"}
        assert pool.report.reasons == {"timeout": 1, "crash": 1, "error": 2}
        assert "1 timeout" in str(pool.report)
    assert calls(problem).count("hang") == 1
    assert calls(problem).count("die") == 2  # once more: a process may also be killed from outside


def test_grading_from_another_thread(problem: Problem) -> None:
    """Time-outs by signal fail off the main thread; these are no signals."""
    found: list[bool] = []
    with GraderPool(workers=1, timeout=0.5) as pool:
        thread = threading.Thread(target=lambda: found.extend(pool.grade_many([("hang", problem), ("yes", problem)])))
        thread.start()
        thread.join()
    assert found == [False, True]


INTERRUPTED = '''
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born ignoring it
from erprm.grading import GraderPool
from erprm.problems import Problem

problem = Problem("0", "?", "yes", grader="python:mygraders:check", metadata={"log": sys.argv[1], "fifo": sys.argv[2]})
texts = [f"no {index}" for index in range(9)] + ["signal"]
pool = GraderPool(workers=1, timeout=600)
try:
    pool.grade_many([(text, problem) for text in texts])
except KeyboardInterrupt:
    right = pool.grade_many([(text, problem) for text in [*texts[:9], "yes"]])
    print(right == [False] * 9 + [True], pool.report.calls)
'''


def test_an_interrupted_run_keeps_what_was_graded(problem: Problem, tmp_path: Path) -> None:
    """Ctrl-C while an answer hangs: its worker is ended, the pool works on, and nothing is graded twice."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    child = subprocess.Popen([sys.executable, "-c", INTERRUPTED, problem.metadata["log"], str(fifo)],
                             env=environment, stdout=subprocess.PIPE, text=True)
    fifo.read_text()  # returns when the grader, in its worker, has come to the last answer
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=120)
    assert out.split() == ["True", "10"]
    assert len(calls(problem)) == 11


def test_workers_end_with_the_pool(problem: Problem) -> None:
    with GraderPool(workers=2) as pool:
        pool.grade_many([(f"no {index}", problem) for index in range(300)])
        processes = [worker.process for worker in pool._workers._idle]
        assert processes
    assert all(process.returncode == 0 for process in processes)
    assert pool.grade_many([("yes", problem)]) == [True]
    pool.close()


def test_a_score_counts_from_the_threshold(problem: Problem) -> None:
    partly = replace(problem, grader="python:mygraders:partly")
    for threshold, right in ((1.0, False), (0.5, True)):
        with GraderPool(workers=1, threshold=threshold) as pool:
            assert pool.grade_many([("x", partly)]) == [right]


def test_problems_that_differ_only_in_metadata_are_told_apart() -> None:
    easy, hard = (Problem("0", "?", "", grader="reasoning-gym:countdown",
                          metadata={"numbers": [2, 3], "target": target})
                  for target in (5, 6))
    with GraderPool(workers=1) as pool:
        assert pool.grade_many([("2+3", easy), ("2+3", hard), ("2*3", hard)]) == [True, False, True]


@pytest.mark.parametrize("options", [{"workers": 0}, {"timeout": 0.0}, {"timeout": float("nan")}])
def test_bad_options(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        GraderPool(**options)  # type: ignore[arg-type]


def test_a_fork_starts_workers_of_its_own(problem: Problem) -> None:
    """Two processes must not read the same pipe."""
    with GraderPool(workers=1) as pool:
        assert pool.grade_many([("yes", problem)]) == [True]
        child = os.fork()
        if child == 0:
            os._exit(0 if pool.grade_many([("a", problem), ("yes", problem)]) == [False, True] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert pool.grade_many([("b", problem)]) == [False]
