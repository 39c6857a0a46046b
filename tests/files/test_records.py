"""Files as they come: marks, packing, lists, shards, data sets; and those that are damaged."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from erprm.errors import InputError
from erprm.files.records import count_records, read_records
from erprm.rows import StepRow, read_rows, row_scores, write_rows

RECORDS = [{"prompt": f"{n}?", "steps": ["a", "б"]} for n in range(5)]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)


def zstd(text: str) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as packed:
        packed.write(text.encode())
    return out.getvalue().to_pybytes()


@pytest.mark.parametrize(("name", "data"), [
    ("rows.jsonl", LINES.encode("utf-8-sig")),
    ("rows.jsonl", LINES.replace("\n", "\r\n\r\n").encode()),
    ("rows.jsonl", json.dumps(RECORDS).encode()),
    ("rows.jsonl", json.dumps(RECORDS, indent=2).encode("utf-8-sig")),
    ("rows.json", LINES.encode()),
    ("rows.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
    ("rows.json.gz", gzip.compress(json.dumps(RECORDS).encode(), mtime=0)),
    ("rows.jsonl.zst", zstd(LINES)),
    ("rows.jsonl", gzip.compress(LINES.encode("utf-8-sig"), mtime=0)),
])
def test_the_same_records_whatever_the_file(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    assert [record for _, record in read_records(tmp_path / name)] == RECORDS
    assert count_records(tmp_path / name) == 5


def test_a_folder_of_shards(tmp_path: Path) -> None:
    for shard in range(2):
        pq.write_table(pa.Table.from_pylist(RECORDS[shard * 3: shard * 3 + 3]), tmp_path / f"train-{shard}.parquet")
    (tmp_path / "README.md").write_text("about")
    assert list(read_records(tmp_path)) == list(enumerate(RECORDS, start=1))
    assert count_records(tmp_path) == 5
    (tmp_path / "info.json").write_text("{}")
    assert count_records(tmp_path) == 5
    (tmp_path / "more.jsonl").write_text(LINES)  # not to be left out in silence
    with pytest.raises(InputError, match=r"shards of one kind, found train-0\.parquet and more\.jsonl"):
        list(read_records(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected a folder with"):
        count_records(tmp_path / "empty")


def test_data_sets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list(RECORDS)
    table.save_to_disk(tmp_path / "one")
    assert [record for _, record in read_records(tmp_path / "one")] == RECORDS
    datasets.DatasetDict({"train": table, "test": table.select([1])}).save_to_disk(tmp_path / "two")
    assert count_records(f"datasets:{tmp_path}/two?split=test") == 1
    with pytest.raises(InputError, match="split: expected one of train, test, found None"):
        count_records(tmp_path / "two")
    with pytest.raises(InputError, match="a data set of the hub is datasets:nobody/nothing"):
        count_records("nobody/nothing")
    with pytest.raises(InputError, match="can't be loaded"):
        count_records("datasets:nobody/nothing")


@pytest.mark.parametrize(("name", "data", "words"), [
    ("rows.jsonl", LINES.encode("utf-16"), "expected UTF-8 text, found UTF-16"),
    ("rows.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-12], "can't be read to its end"),
    ("rows.jsonl.zst", zstd(LINES)[:-5], "can't be read to its end"),
    ("rows.parquet", b"", "not a Parquet file"),
    ("rows.jsonl", b"[" * 100_000, "rows.jsonl:1: .*nested too deeply"),
    ("rows.json", b"[" * 100_000, "nested too deeply"),
    ("rows.jsonl", b'{"prompt": ' + b"9" * 5000 + b"}", "rows.jsonl:1: .*a number that is too long"),
    ("rows.jsonl", rb'{"prompt": "\ud83d", "steps": ["a"]}', r"rows.jsonl:1: .*surrogate pair \(\\ud83d\)"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "answer": 12}', ":1: answer: expected text or null, found int"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "extra": 5}', ":1: extra: expected an object, found int"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "extra": "5"}', ":1: extra: expected an object"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "extra": "{"}', ":1: extra: expected an object as JSON text"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "labels": [1' + b"0" * 400 + b"]}", ":1: labels: expected values"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "outcome": "1"}', ":1: outcome: expected a number, found str"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "successes": [0.5], "trials": [1]}', "a list of whole numbers"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "successes": [0], "trials": [4294967296]}', "trials: expected at"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "scores": [NaN]}', "scores: expected finite numbers, found nan"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "rewards": [0.5]}', "expected a list of lists of numbers"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "rewards": [["x"]]}', "rewards: expected numbers, found str"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "rewards": [[0.5, 1.5]]}', "found 1.5 at step 1"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "rewards": [[0.5], []]}', "one value per step"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "successes": [0], "trials": [1], "rewards": [[0.5]]}',
     "found both at step 1"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "weight": -1}', "weight: expected 0, a positive number"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "weight": 1e-50}', "float32 holds, or null, found 1e-50"),
    ("rows.jsonl", b'{"prompt": "1", "steps": ["a"], "weight": "2"}', ":1: weight: expected a number, found str"),
    ("rows.json", json.dumps(RECORDS[0], indent=2).encode("utf-8-sig"),
     r"rows\.json: expected one JSON object per line, or .*, found an object over 7 lines with 'prompt', 'steps';"),
    ("rows.jsonl.gz", gzip.compress(b"\n".join(json.dumps(record, indent=1).encode() for record in RECORDS), mtime=0),
     r"rows\.jsonl\.gz: expected one JSON object per line, or .*, found an object over 7 lines"),
    ("rows.jsonl", b'{"prompt": "1"\n{"prompt": "2", "steps": ["a"]}', r"rows\.jsonl:1: expected one JSON object"),
], ids=range(28))
def test_what_cannot_be_read_is_one_line(name: str, data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        list(read_rows(tmp_path / name))


def test_an_object_over_several_lines_is_one_error_and_no_bad_lines(tmp_path: Path) -> None:
    """Whoever drops bad lines would drop every one of them, and be left with nothing."""
    path, dropped = tmp_path / "rows.json", list[InputError]()
    path.write_text(json.dumps({"rows": RECORDS}, indent=2))
    for read in (lambda: list(read_records(path, dropped.append)), lambda: count_records(path)):
        with pytest.raises(InputError, match="found an object over 39 lines with 'rows'; write each on a line"):
            read()
    assert not dropped


def test_a_damaged_page_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_rows(path, [StepRow(f"question {n}", ("a",)) for n in range(100)])
    data = bytearray(path.read_bytes())
    data[40] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"rows\.parquet: damaged"):
        list(read_rows(path))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_scores_have_a_column_and_those_of_earlier_files_are_read_into_it(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    rows = [StepRow("q", ("a", "b"), scores=(0.25, 0.5), extra={"note": 1}), StepRow("q", ("a",), weight=0.3),
            StepRow("q", ("a", "b", "c"), successes=(0, 3, 0), trials=(0, 4, 0), rewards=((0.1, 1 / 3), (), ()))]
    write_rows(path, rows)
    assert list(read_rows(path)) == rows
    if suffix == ".parquet":
        assert pq.read_schema(path).field("scores").type == pa.list_(pa.float32())
    earlier = {"prompt": "q", "steps": ["a", "b"], "finished": True, "extra": '{"scores": [0.25, 0.5], "note": 1}'}
    old = tmp_path / "old.parquet"
    pq.write_table(pa.Table.from_pylist([earlier]), old)
    [row] = read_rows(old)
    assert row == rows[0]
    assert row_scores(row) == (0.25, 0.5)
