"""Records from files that a person can open: JSON lines, a JSON list, Parquet; plain, .gz or .zst; or a data set.

    for number, record in read_records("rows.jsonl"): ...     # 1-based line, dict
    read_records("shards/")                                   # every Parquet (else JSON) file of a folder, by name
    read_records("datasets:OWNER/NAME?name=main&split=train") # the hub, or a folder that `save_to_disk` wrote

What a file holds is told from its first bytes, not from its name.
"""

from __future__ import annotations

import gzip
import io
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from erprm.errors import InputError, import_extra

DATASETS = "datasets:"
_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_SURROGATE = re.compile("[\ud800-\udfff]")
_LONGEST_OBJECT = 1 << 26  # bytes of one over several lines, so that it is told from bad lines
_SHARDS = (".parquet",), (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst")
_SAVED = ("dataset_info.json", "dataset_dict.json")  # what `save_to_disk` writes

Record = Mapping[str, Any]
OnError = Callable[[InputError], None]


def read_records(source: str | Path, on_error: OnError | None = None, on_repair: Callable[[str], None] | None = None,
                 ) -> Iterator[tuple[int, Record]]:
    """(line or row number from 1, record) of a source, one at a time.

    Blank lines and a byte order mark are skipped. A JSON list is read whole; the others take constant memory. In a
    folder the rows are numbered through.

    Args:
        on_error: called with the error of a bad line, which is then skipped; without it the error is raised.
        on_repair: called with the reason where a record was changed: half of a surrogate pair, which UTF-8 cannot
            hold, becomes U+FFFD. Without it such a record is bad.

    Raises:
        InputError: for a missing or damaged file; for a bad line, naming file and line.
    """
    if _is_dataset(source):
        yield from enumerate(_load_dataset(str(source)), start=1)
        return
    files = _files(Path(source))
    before = 0
    for path in files:
        number = 0
        for number, record in _read_file(path, on_error, on_repair):
            yield before + number, record
        before += number


def count_records(source: str | Path) -> int:
    """How many records `read_records` will find, bad ones included. Raises InputError for a missing file."""
    if _is_dataset(source):
        return sum(1 for _ in _load_dataset(str(source)))
    return sum(_count(path) for path in _files(Path(source)))


def check_source(source: str | Path) -> None:
    """Raise InputError where there is nothing that `read_records` could open."""
    if not _is_dataset(source):
        _files(Path(source))


def parse_query(query: str, source: str) -> dict[str, str]:
    """"a=1&b=2" as a dictionary. Raises InputError."""
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise InputError(f"{source}: expected NAME=VALUE, found {part!r}")
        options[unquote(name)] = unquote(value)
    return options


def load_dataset(name: str, subset: str | None = None, split: str | None = None) -> Iterable[Record]:
    """A table of the `datasets` package: a name on the hub, or a folder that `save_to_disk` wrote.

    Args:
        split: may be None where there is one only.

    Raises:
        InputError: when it can't be loaded, naming the splits where there is another choice.
        MissingExtraError: where `datasets` is not installed.
    """
    datasets = import_extra("datasets", "datasets")
    try:
        loaded = datasets.load_from_disk(name) if Path(name).is_dir() else datasets.load_dataset(name, subset)
    except (OSError, ValueError) as error:
        raise InputError(f"{DATASETS}{name}: can't be loaded: {error}") from error
    if not isinstance(loaded, Mapping):
        return loaded  # type: ignore[no-any-return]
    if split is None and len(loaded) == 1:
        split = next(iter(loaded))
    if split not in loaded:
        raise InputError(f"{DATASETS}{name}: split: expected one of {', '.join(loaded)}, found {split}; write "
                         f"{DATASETS}{name}?split={next(iter(loaded), '')}")
    return loaded[split]  # type: ignore[no-any-return]


def _is_dataset(source: str | Path) -> bool:
    return str(source).startswith(DATASETS) or any((Path(source) / name).is_file() for name in _SAVED)


def _load_dataset(source: str) -> Iterable[Record]:
    name, _, query = source.removeprefix(DATASETS).partition("?")
    options = parse_query(query, source)
    unknown = set(options) - {"name", "split"}
    if unknown:
        raise InputError(f"{source}: unknown option {sorted(unknown)[0]!r}; known are name, split")
    return load_dataset(name, options.get("name"), options.get("split"))


def _files(source: Path) -> list[Path]:
    """The file, or the shards of a folder: Parquet files, else JSON ones."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        hub = source.parent.name and not source.suffix and len(source.parts) == 2
        raise InputError(f"{source}: no such file" + (f"; a data set of the hub is {DATASETS}{source}" if hub else ""))
    if (source / "manifest.json").is_file() and (source / "parts").is_dir():
        raise InputError(f"{source}: a store of completions; its rows are in {source / 'rows.parquet'}")
    kinds = [sorted(path for path in source.iterdir()
                    if path.name.endswith(suffixes) and path.name[0] not in "._" and path.is_file())
             for suffixes in _SHARDS]
    lines = [path for path in kinds[1] if ".jsonl" in path.suffixes]
    if kinds[0] and lines:
        raise InputError(f"{source}: expected shards of one kind, found {kinds[0][0].name} and {lines[0].name}; "
                         "name one of them, or put those that are meant into a folder of their own")
    if found := kinds[0] or kinds[1]:
        return found
    raise InputError(f"{source}: expected a folder with .parquet or .jsonl files, found none")


def _read_file(path: Path, on_error: OnError | None, on_repair: Callable[[str], None] | None,
               ) -> Iterator[tuple[int, Record]]:
    head = _head(path)
    if path.suffix == ".parquet" or head.startswith(_PARQUET):
        yield from enumerate(_parquet(path), start=1)
        return
    found = _read_whole(path, head)
    for number, item in _lines(path) if found is None else enumerate(found, start=1):
        where = f"{path}:{number}"
        try:
            record = _parsed(item, where) if isinstance(item, bytes) else item
            if not isinstance(record, dict):
                raise InputError(f"{where}: expected a JSON object, found {type(record).__name__}")
            if found is not None or b"\\ud" in item.lower():
                record = _without_surrogates(record, where, on_repair)
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
            continue
        yield number, record


def _count(path: Path) -> int:
    head = _head(path)
    if path.suffix == ".parquet" or head.startswith(_PARQUET):
        with _parquet_file(path) as table:
            return int(table.metadata.num_rows)
    found = _read_whole(path, head)
    return len(found) if found is not None else sum(1 for _ in _lines(path))


def _head(path: Path) -> bytes:
    """The first bytes, unpacked, without a byte order mark."""
    with path.open("rb") as file:
        packed = file.read(4)
    if packed == _PARQUET or path.suffix == ".parquet":
        return packed
    with _unpacked(path) as stream:
        head = stream.read(256)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head[:4]:
        raise InputError(f"{path}: expected UTF-8 text, found UTF-16 or no text at all")
    return head.removeprefix(b"\xef\xbb\xbf")


@contextmanager
def _unpacked(path: Path) -> Iterator[BinaryIO]:
    """A file's bytes, unpacked where it is a .gz or .zst; what is wrong with the packing is an InputError."""
    with path.open("rb") as file:
        head = file.read(4)
    try:
        if head.startswith(_GZIP):
            with gzip.open(path, "rb") as unpacked:
                yield unpacked  # type: ignore[misc]
        elif head == _ZSTD:
            import pyarrow as pa

            with io.BufferedReader(pa.input_stream(str(path), compression="zstd")) as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            with path.open("rb") as plain:
                yield plain
    except (EOFError, OSError, zlib.error) as error:
        raise InputError(f"{path}: can't be read to its end: {error}") from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    with _unpacked(path) as stream:
        for number, line in enumerate(stream, start=1):
            line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if line.strip():
                yield number, line


def _parsed(line: bytes, where: str) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected UTF-8 text, found byte {line[error.start]:#04x}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{where}: expected one JSON object per line, found {error.msg} at column {error.colno}"
                         ) from error
    except RecursionError as error:
        raise InputError(f"{where}: expected one JSON object per line, found values nested too deeply") from error
    except ValueError as error:  # an integer of more than 4,300 digits
        raise InputError(f"{where}: expected one JSON object per line, found a number that is too long") from error


def _without_surrogates(record: Record, where: str, on_repair: Callable[[str], None] | None) -> Record:
    text = json.dumps(record, ensure_ascii=False)
    half = _SURROGATE.search(text)
    if half is None:
        return record
    if on_repair is None:
        raise InputError(f"{where}: expected text, found half of a surrogate pair ({ascii(half[0])[1:-1]}); erprm "
                         "convert replaces it")
    on_repair("text: half of a surrogate pair, replaced by U+FFFD")
    return dict(json.loads(_SURROGATE.sub("\ufffd", text)))


def _read_whole(path: Path, head: bytes) -> list[Any] | None:
    """The objects of a file that is one JSON list; None for one of lines. Raises InputError where lines would be parts
    of an object."""
    if head.lstrip()[:1] == b"[":
        return _json_list(path)
    if head.lstrip()[:1] == b"{":
        _check_lines(path)
    return None


def _check_lines(path: Path) -> None:
    """Raise InputError where the first object is written over several lines, each of which would be a bad record."""
    with _unpacked(path) as stream:
        lines = (line for line in stream if line.strip())
        first = next(lines).decode("utf-8-sig", "replace")
        try:
            json.loads(first)
            return
        except (RecursionError, ValueError):
            text = first + stream.read(_LONGEST_OBJECT).decode("utf-8", "replace")
    try:
        found, end = json.JSONDecoder().raw_decode(text.lstrip())
    except (RecursionError, ValueError):
        return  # a bad line
    over = text.lstrip()[:end].count("\n") + 1
    if over > 1:
        keys = ", ".join(map(repr, itertools.islice(found, 4)))
        holding = f" with {keys:.80}" if keys else ""
        raise InputError(f"{path}: expected one JSON object per line, or one JSON list of objects, found an object "
                         f"over {over:,} lines{holding}; write each on a line of its own, or put [ ] around them and "
                         "commas between them")


def _json_list(path: Path) -> list[Any] | None:
    """The objects of a file that is one JSON list; None where it is lines after all."""
    with _unpacked(path) as stream:
        data = stream.read()
    try:
        records = json.loads(data.decode("utf-8-sig"))
    except (RecursionError, ValueError) as error:
        if ".jsonl" in path.name or (isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"):
            return None  # a bad line, perhaps
        found = "values nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"{path}: expected one JSON list of objects, found {found}") from error
    return records if not records or isinstance(records[0], dict) or path.suffix == ".json" else None


def _parquet(path: Path) -> Iterator[Record]:
    import pyarrow as pa

    try:
        with _parquet_file(path) as table:
            for batch in table.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged: {error}") from error


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a Parquet file: {error}") from error
