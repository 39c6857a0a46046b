"""Folders that are written whole: killed at every file change, two writers, other settings."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from erprm.errors import InputError
from erprm.files.runs import FILE_NAME, digest_of, run_folder
from erprm.files.writing import locked, remove_folder, remove_unfinished, written_folder


def killed_at(change: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that kills itself before its file change number `change`; False when none was left."""
    child = os.fork()
    if child == 0:
        left = [change]

        def watch(event: str, arguments: Any) -> None:
            written = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_WRONLY
            if written or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def write(path: Path, generation: str) -> None:
    with written_folder(path, last="erprm.json") as folder:
        (folder / "part").mkdir()
        for name in ("erprm.json", "weights", "part/a"):
            (folder / name).write_text(generation)


def generations(path: Path) -> set[str]:
    return {(path / name).read_text() for name in ("erprm.json", "weights", "part/a")}


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_has_its_last_file_is_whole(tmp_path: Path, there: bool) -> None:
    change, killed = 0, True
    while killed:
        folder = tmp_path / str(change) / "model"
        if there:
            write(folder, "old")
        killed = killed_at(change, lambda place=folder: write(place, "new"))
        if (folder / "erprm.json").exists():
            assert generations(folder) in ({"old"}, {"new"})
        write(folder, "again")
        assert generations(folder) == {"again"}
        for place in (folder, folder.parent):
            remove_unfinished(place)
            assert not [item for item in place.iterdir() if item.name.startswith(".")]
        change += 1
    assert change > 5
    assert generations(folder) == {"again"}


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write(tmp_path / "model", "old")

    def fills_the_disk() -> None:
        with written_folder(tmp_path / "model", last="erprm.json") as folder:
            (folder / "weights").write_text("new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        fills_the_disk()
    assert generations(tmp_path / "model") == {"old"}
    assert sorted(item.name for item in (tmp_path / "model").iterdir()) == ["erprm.json", "part", "weights"]
    remove_folder(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_the_second_writer_is_refused_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(InputError, match=f"process {os.getpid()}"), locked(tmp_path / "out"):
        pass
    assert not list(tmp_path.iterdir())

    def dies() -> None:
        with locked(tmp_path / "out"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert killed_at(1000, dies)
    with locked(tmp_path / "out"):
        pass


def test_a_run_goes_on_with_its_own_settings_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with run_folder(folder, {"eta": 2.0}) as run:
        run.begin()
    with run_folder(folder, {"eta": 3.0}) as run:
        run.check(started=False)  # nothing was made with eta 2
        run.begin()
    with run_folder(folder, {"eta": 2.0, "seed": 1}) as run, pytest.raises(InputError) as refused:
        run.check(started=True)
    assert "eta = 3.0 there, 2.0 asked for; seed = None there, 1 asked for" in str(refused.value)
    with run_folder(folder, {"eta": 3.0}) as run:
        run.check(started=True)
        run.finish()
    with run_folder(folder, {"eta": 3.0}) as run:
        assert run.finished
    with run_folder(folder, {"eta": 4.0}) as run:
        assert not run.finished
        with pytest.raises(InputError, match="eta = 3"):
            run.check(started=False)
    (folder / FILE_NAME).write_text("{")
    with pytest.raises(InputError, match=r"run\.json: can't be read .*; give another --out"), run_folder(folder, {}):
        pass


def test_a_model_of_others_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with run_folder(tmp_path, {}) as run, pytest.raises(InputError, match="holds a model or checkpoints, but no"):
        run.check(started=False)


def test_a_digest_tells_contents_apart(tmp_path: Path) -> None:
    large = tmp_path / "model"
    large.mkdir()
    (large / "weights").write_bytes(bytes(5 << 20))
    before = digest_of(large)
    assert digest_of(large / "weights") == digest_of(large / "weights")
    (large / "weights").write_bytes(bytes(i % 251 for i in range(1 << 10)) * (5 << 10))
    assert digest_of(large) != before
    assert digest_of("owner/name") == "owner/name"
