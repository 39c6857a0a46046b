"""The store against what can go wrong: damage, a second writer, a full disk, remote places."""

import dataclasses
import os
import subprocess
import sys
import uuid
from pathlib import Path

import fsspec
import pytest

from erprm.errors import InputError
from erprm.files.storage import LocalStorage, open_storage
from erprm.rollouts.store import Record, RolloutStore, read_parts

SETTINGS = {"policy.model": "m", "seed": "0"}
RECORD = Record("ab", 0, "p", "step\n", "text", "stop", 3, "7", True)


def part(first: int, count: int = 3) -> list[Record]:
    return [dataclasses.replace(RECORD, sample=i) for i in range(first, first + count)]


def samples(place: object) -> list[int]:
    return [value for table in read_parts(str(place)) for value in table["sample"].to_pylist()]


@pytest.fixture(params=["path", "file", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"path": str(tmp_path / "s"), "file": f"file://{tmp_path}/s", "memory": f"memory://{uuid.uuid4()}"}[request.param]


def test_what_was_committed_is_there_afterwards(place: str) -> None:
    with RolloutStore.open(place, SETTINGS) as store:
        store.commit(part(0))
        store.commit(part(3))
    with RolloutStore.open(place, SETTINGS) as store:
        assert sum(table.num_rows for table in store.completed()) == 6
        store.commit(part(6))
        store.write("rows.parquet", b"x")
    assert samples(place) == list(range(9))


def test_two_writers_at_once(place: str) -> None:
    with RolloutStore.open(place, SETTINGS), pytest.raises(InputError, match=f"another process.*{os.getpid()}"), \
            RolloutStore.open(place, SETTINGS):
        pass
    with RolloutStore.open(place, SETTINGS) as store:
        store.commit(part(0))


def test_the_lock_of_a_dead_process_is_taken_over(place: str) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    holder = f'{{"host": "{os.uname().nodename}", "process": {int(dead.stdout)}, "token": "x"}}'
    open_storage(place).write("lock", holder.encode())
    with RolloutStore.open(place, SETTINGS) as store:
        store.commit(part(0))


def test_a_lock_of_another_machine_is_respected() -> None:
    place = f"memory://{uuid.uuid4()}"
    open_storage(place).write("lock", b'{"host": "elsewhere", "process": 1, "token": "x"}')
    with pytest.raises(InputError, match="on elsewhere"), RolloutStore.open(place, SETTINGS):
        pass


@pytest.mark.parametrize("damage", ["cut off", "emptied", "one byte changed"])
def test_a_damaged_part_is_found_moved_away_and_its_number_not_used_again(tmp_path: Path, damage: str) -> None:
    with RolloutStore.open(tmp_path, SETTINGS) as store:
        store.commit(part(0, 500))
        store.commit(part(500))
    path = tmp_path / "parts" / "000001.parquet"
    data = bytearray(path.read_bytes())
    if damage == "one byte changed":
        data[len(data) // 8] ^= 1
    else:
        data = data[: len(data) // 2 if damage == "cut off" else 0]
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"000001\.parquet: damaged"):
        samples(tmp_path)
    with RolloutStore.open(tmp_path, SETTINGS) as store:
        assert [table.num_rows for table in store.completed()] == [3]
        assert store.quarantined == ["000001.parquet"]
        assert store.commit(part(0)) == "000003.parquet"
    assert (tmp_path / "quarantine" / "000001.parquet").exists()
    assert samples(tmp_path) == [500, 501, 502, 0, 1, 2]


def test_a_leftover_of_a_killed_write_is_not_a_part(tmp_path: Path) -> None:
    with RolloutStore.open(tmp_path, SETTINGS) as store:
        store.commit(part(0))
    (tmp_path / "parts" / ".000002.parquet.tmp").write_bytes(b"half")
    with RolloutStore.open(tmp_path, SETTINGS) as store:
        assert [table.num_rows for table in store.completed()] == [3]
        store.commit(part(3))
    assert samples(tmp_path) == list(range(6))


def test_other_settings_are_refused(place: str) -> None:
    with RolloutStore.open(place, SETTINGS | {"seed": "1"}):
        pass
    with RolloutStore.open(place, SETTINGS) as store:  # nothing was committed: the corrected command goes ahead
        store.commit(part(0))
    with pytest.raises(InputError, match=r"policy.model: store has m, asked for q; top: store has none, asked for 1"), \
            RolloutStore.open(place, {"policy.model": "q", "seed": "0", "top": "1"}):
        pass


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a rollout store"):
        samples(tmp_path)
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(InputError, match="not a store's manifest"), RolloutStore.open(tmp_path, SETTINGS):
        pass
    with pytest.raises(InputError, match="fsspec can open"):
        open_storage("nosuchprotocol://x")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from erprm.files.storage import LocalStorage\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "storage = LocalStorage(Path(sys.argv[1]))\n"
        "storage.write('parts/a', b'1' * 900)\n"
        "try:\n    storage.write('parts/b', b'2' * 5000)\n"
        "except OSError as error:\n    print(error)\n")
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "could not write" in done.stdout
    assert "what was committed is kept" in done.stdout
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["a"]


def test_memory_urls_leave_no_lock_behind() -> None:
    name = uuid.uuid4()
    with RolloutStore.open(f"memory://{name}", SETTINGS) as store:
        store.commit(part(0))
    names = fsspec.filesystem("memory").find(f"/{name}")
    assert sorted(path.partition(f"{name}/")[2] for path in names) == [
        "manifest.json", "parts/000001.parquet", "sums/000001.parquet"]


def test_local_storage_lists_nothing_where_nothing_is(tmp_path: Path) -> None:
    assert LocalStorage(tmp_path / "none").names("parts") == []
    assert LocalStorage(tmp_path / "none").read("x") is None
