"""Files that are there whole or not at all: two writers, killed writers, links laid in the way."""

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from erprm.errors import InputError
from erprm.files.writing import atomic_write, locked


def test_two_writers_never_share_a_temporary_file(tmp_path: Path) -> None:
    path, victim = tmp_path / "rows.jsonl", tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".rows.jsonl.tmp").symlink_to(victim)  # a name that could be guessed
    with ExitStack() as both:
        first, second = (both.enter_context(atomic_write(path)) for _ in range(2))
        first.write_text("one " * 1000)
        second.write_text("two")
    assert path.read_text() == "one " * 1000  # the last to end
    assert victim.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == [".rows.jsonl.tmp", "rows.jsonl", "victim"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text(str(1 / 0))
    assert os.listdir(tmp_path) == ["rows.jsonl"]
    assert path.read_text() == "old"


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    child = os.fork()
    if child == 0:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    [left] = tmp_path.iterdir()
    (tmp_path / f"{left.name}.mine").write_text("a name that is not ours")
    with locked(path):
        assert not left.exists()
        with pytest.raises(InputError, match=rf"rows.jsonl: another process writes to it \(process {os.getpid()}\)"), \
                locked(path):
            pass
    assert os.listdir(tmp_path) == [f"{left.name}.mine"]
