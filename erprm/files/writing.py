"""Files and folders that are there whole or not at all.

    with atomic_write("out.jsonl") as temporary: ...       # write to `temporary`; renamed when the block ends well
    with written_folder("runs/prm", last="erprm.json") as folder: model.save_pretrained(folder)
    with locked("runs/prm"): ...                               # a second process is refused

What is being written has a name of its own, `.NAME.RANDOM.tmp`, made anew (never through a symbolic link that lies
there), and takes its place once it is on the disk. What a killed process left of it is removed by the next that holds
the lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from erprm.errors import InputError

ROWS = (".parquet", ".jsonl")  # names of files of rows that are written

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
_DEVICES = (Path("/dev"), Path("/dev/fd"))
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TORCH_WRITER = "inline_container"  # stands in what torch.save says of a file that could not be written to its end
_UNFINISHED = ".tmp"  # names of what is being written: .NAME.RANDOM.tmp


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A new, empty file beside `path` to write to; it takes `path`'s place when the block ends without an error.

    Written through to the disk, file and name: after a power cut too `path` is the old file or the new one, whole.

    Raises:
        InputError: for a device, pipe or socket, whose place a file would take.
        OSError: where the disk is full, naming `path`.
    """
    path = Path(path)
    _check_no_device(path, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _unfinished(path)
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        with _named_failures(path):
            yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def check_output(output: str, kind: str, name: str, others: Mapping[str, Any]) -> None:
    """Whether `output` could be written, asked before work begins.

    Args:
        kind: "rows" (a .parquet or .jsonl file), a "file" or a "folder".
        name: of the option, for the message.
        others: the command's other options; none of them may name the same file.

    Raises:
        InputError: for another suffix, a folder for a file or the reverse, a device, a place where nothing can be
            written, or the file that another option names, which would be overwritten.
    """
    if "://" in output:
        return
    path = Path(output)
    if kind == "rows" and path.suffix not in ROWS:
        raise InputError(f"{name}: expected a .parquet or .jsonl file, found {output!r}")
    if path.suffix in _COMPRESSED:
        raise InputError(f"{name}: expected the name of an uncompressed file, found {output!r}")
    if path.name in ("", ".."):
        raise InputError(f"{name}: expected the name of a {'folder' if kind == 'folder' else 'file'}, found {output!r}")
    if path.exists() and path.is_dir() != (kind == "folder"):
        raise InputError(f"{name}: expected a {'folder' if kind == 'folder' else 'file'}, found a "
                         f"{'folder' if path.is_dir() else 'file'}: {output!r}")
    _check_no_device(path, f"{name}: {output!r}")
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if there != path and not there.is_dir():
        raise InputError(f"{name}: expected a path in a folder, found {output!r}, where {str(there)!r} is a file")
    place = there if kind == "folder" or there != path else path.absolute().parent
    try:
        trial = _unfinished(place / path.name)
        os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        trial.unlink()
    except OSError as error:
        raise InputError(f"{name}: expected a place where this user may write, found {output!r}: "
                         f"{error.strerror}") from error
    for other, value in others.items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and path.is_file() and os.path.isfile(text) and path.samefile(text):
                raise InputError(f"{name}: expected another file than that of --{other}, found {output!r}")


def _check_no_device(path: Path, shown: str) -> None:
    """Raise InputError for what no file may take the place of: /dev/null, and /dev/stdout, a link to whatever it is."""
    if path.absolute().parent in _DEVICES or (path.exists() and not path.is_file() and not path.is_dir()):
        raise InputError(f"{shown}: expected a file or folder, found a device, pipe or socket")


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")


@contextmanager
def written_folder(path: str | Path, last: str) -> Iterator[Path]:
    """A new folder to write to, whose files are synced and put into `path` when the block ends without an error.

    Where there is no `path` the folder takes its name at once. Into a folder that is there the files are moved one by
    one; `last` is removed from it first and comes last, so that a folder that has it is whole.

    Args:
        last: the file or folder without which nobody reads `path`.

    Raises:
        OSError: where the disk is full, naming `path`, in whatever way a library says so.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.is_dir()
    temporary = _unfinished(path / path.name if there else path)
    temporary.mkdir()
    try:
        with _named_failures(path):
            yield temporary
        sync_tree(temporary)
        if there:
            _move_into(temporary, path, last)
        else:
            temporary.rename(path)
            _sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _named_failures(path: Path) -> Iterator[None]:
    """A full disk is an OSError that names the file or folder, in whatever way a library says it."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        raise _not_written(path, error, error.errno) from error
    except SafetensorError as error:
        raise _not_written(path, error) from error
    except RuntimeError as error:
        if _TORCH_WRITER not in str(error):
            raise
        raise _not_written(path, error) from error


def _not_written(path: Path, error: Exception, number: int = errno.EIO) -> OSError:
    reason = error.strerror if isinstance(error, OSError) else f"is the disk full? {' '.join(str(error).split())}"
    return OSError(number, f"could not write {path} ({reason}); what was committed is kept")


def _move_into(source: Path, target: Path, last: str) -> None:
    if not remove_folder(target / last):
        (target / last).unlink(missing_ok=True)
    _sync(target)
    for item in sorted(source.iterdir(), key=lambda item: item.name == last):
        remove_folder(target / item.name)
        if item.name == last:
            _sync(target)
        item.rename(target / item.name)
    _sync(target)


def remove_folder(path: str | Path) -> bool:
    """Remove a folder such that a kill on the way leaves no half of it under its name; False where there is none."""
    path = Path(path)
    if not path.is_dir():
        return False
    gone = _unfinished(path)
    path.rename(gone)
    shutil.rmtree(gone)
    return True


def remove_unfinished(folder: Path, of: str | None = None) -> None:
    """Remove what killed writers left in `folder`; for one who holds its lock.

    Args:
        of: only what would have become this name.
    """
    name = re.compile(rf"\.{'.+' if of is None else re.escape(of)}\.[0-9a-f]{{8}}{re.escape(_UNFINISHED)}")
    for path in folder.iterdir() if folder.is_dir() else ():
        if name.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def sync_tree(folder: Path) -> None:
    """Flush every file and folder under `folder` to the disk."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(place) / name)
        _sync(Path(place))


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def locked(output: str | Path) -> Iterator[None]:
    """Hold the right to write to a file or folder, which need not be there yet; the first thing is to tidy up.

    Raises:
        InputError: naming the process that holds it.
    """
    output = Path(output)
    with held(output.with_name(f".{output.name}.lock"), str(output)):
        remove_unfinished(output.parent, of=output.name)
        yield


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`. The lock is the kernel's: a dead process holds none.

    Raises:
        InputError: saying that another process writes to `what`, and which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.seek(0)
                raise InputError(f"{what}: another process writes to it (process {lock.read().strip()}); wait for its "
                                 "end or write elsewhere") from error
            if not _is_at(lock.fileno(), path):
                continue  # its last holder has just removed this file
            with _named_failures(path):
                lock.truncate(0)
                os.write(lock.fileno(), str(os.getpid()).encode())
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
