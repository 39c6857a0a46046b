"""What a model wrote is not run, cannot speak for the grader, and no file of the working folder decides a verdict."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from erprm.grading import GraderPool
from erprm.problems import Problem, load_problems

# Graders that do what an attacker would do who got to run. They write to pipes alone: files stay as they are.
HOSTILE = '''
import os, socket, stat

def fair(text, problem):
    return text == "right"

def _write(place, data):
    try:
        if stat.S_ISFIFO(os.stat(place).st_mode):
            if isinstance(place, int):
                os.write(place, data)
            else:
                with open(place, "wb", buffering=0) as pipe:
                    pipe.write(data)
    except OSError:
        pass

def chatter(text, problem):
    """Writes verdicts into each pipe that it has, then says no."""
    for descriptor in range(3, 256):
        _write(descriptor, b"1\\\\n1\\\\n1\\\\n")
    return False

def intruder(text, problem):
    """Writes verdicts into each pipe of the process that made it."""
    try:
        names = os.listdir(f"/proc/{os.getppid()}/fd")
    except OSError:
        return False
    for name in names:
        _write(f"/proc/{os.getppid()}/fd/{name}", b"1\\\\n1\\\\n")
    return False

def caller(text, problem):
    with socket.create_connection(("127.0.0.1", int(text)), timeout=2):
        return True

def parent(text, problem):
    os.kill(os.getppid(), 9)
    return True

def quitter(text, problem):
    os._exit(0)

def writer(text, problem):
    with open(text, "wb") as out:
        out.write(b"x" * 2**25)
    return True

def sleeper(text, problem):
    import time
    time.sleep(600)
'''


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GraderPool]:
    folder = tmp_path_factory.mktemp("graders")
    (folder / "hostile_graders.py").write_text(HOSTILE.replace("\\\\n", "\\n"))
    sys.path.append(str(folder))
    with GraderPool(workers=1, timeout=5) as pool:
        yield pool
    sys.path.remove(str(folder))


def ask(name: str) -> Problem:
    return Problem(name, "?", "x", grader=f"python:hostile_graders:{name}")


def test_code_as_an_answer_is_wrong_and_not_run(tmp_path: Path) -> None:
    [problem] = load_problems("reasoning-gym:countdown?size=1")
    mark = tmp_path / "ran"
    attacks = [f"{problem.answer}*__import__('pathlib').Path({str(mark)!r}).touch()",
               f"__import__('pathlib').Path({str(mark)!r}).touch() or {problem.answer}",
               f"[open({str(mark)!r}, 'w')]", "().__class__.__base__.__subclasses__()"]
    with GraderPool(workers=1) as pool:
        right = pool.grade_many([(form % attack, problem) for form in ("The answer is %s", r"\boxed{%s}")
                                 for attack in [*attacks, problem.answer]])
        behind = f"The answer is {problem.answer}\n__import__('pathlib').Path({str(mark)!r}).touch()"
        assert pool.grade_many([(behind, problem)]) == [True]  # the answer is the line, what follows is a remark
    assert right == [False] * 4 + [True] + [False] * 4 + [True]
    assert not mark.exists()


@pytest.mark.parametrize(("attack", "reason"), [("chatter", "said more than asked"), ("intruder", "")])
def test_a_grader_cannot_write_verdicts(pool: GraderPool, attack: str, reason: str) -> None:
    texts = [(f"anything {number}", ask(attack)) for number in range(3)]
    verdicts = pool.verdicts([*texts, ("wrong", ask("fair")), ("right", ask("fair")), ("wrong too", ask("fair"))])
    assert [verdict.right for verdict in verdicts] == [False, False, False, False, True, False]
    assert [verdict.reason for verdict in verdicts[:3]] == [reason] * 3


def test_a_grader_has_no_network(pool: GraderPool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        [verdict] = pool.verdicts([(str(server.getsockname()[1]), ask("caller"))])
    assert not verdict.right
    assert verdict.reason.startswith("error: ")


@pytest.mark.parametrize(("attack", "reason"), [("parent", "crash"), ("quitter", "crash"), ("sleeper", "timeout")])
def test_a_grader_that_kills_leaves_or_stays_is_wrong_and_the_others_are_judged(pool: GraderPool, attack: str,
                                                                                reason: str) -> None:
    verdicts = pool.verdicts([("wrong", ask("fair")), ("a", ask(attack)), ("right", ask("fair"))])
    assert [verdict.right for verdict in verdicts] == [False, False, True]
    assert verdicts[1].reason == reason


def test_an_answer_that_never_ends_is_alone_wrong_among_those_that_its_child_judges() -> None:
    problem = Problem("0", "?", "", grader="reasoning-gym:countdown", metadata={"numbers": [2, 3], "target": 5})
    answers = [f"{2 + number}+3" for number in range(20)] + ["9**9**9**9"] + [f"3+{2 + number}" for number in range(19)]
    with GraderPool(workers=1, timeout=0.5) as pool:  # lists of ten
        verdicts = pool.verdicts([(answer, problem) for answer in answers])
    assert [answer for answer, verdict in zip(answers, verdicts, strict=True) if verdict.right] == ["2+3", "3+2"]
    assert [verdict.reason for verdict in verdicts].count("timeout") == 1
    assert verdicts[20].reason == "timeout"


def test_a_grader_cannot_fill_the_disk(pool: GraderPool, tmp_path: Path) -> None:
    [verdict] = pool.verdicts([(str(tmp_path / "big"), ask("writer"))])
    assert not verdict.right
    assert (tmp_path / "big").stat().st_size <= 2**24


def test_files_of_the_working_folder_do_not_take_part(tmp_path: Path) -> None:
    for name in ("tokenize", "math_verify", "pickle", "sympy", "ctypes"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken over')\n")
    code = ("import sys; sys.path.remove(''); from erprm.grading import grade; sys.path.insert(0, '')\n"
            r"assert grade(r'\boxed{\sin(2x)}', r'2\sin(x)\cos(x)') is True; "
            r"assert grade(r'\boxed{\sin(2x)}', r'\sin(x)\cos(x)') is False")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)})
    assert done.returncode == 0, done.stderr
