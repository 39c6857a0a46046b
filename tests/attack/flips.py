"""Single bits of what a run goes on from flipped: a part of a store is quarantined, a record of its settings or results
refused in one line, or what it says is the same.

    flips(folder, random.Random(0), 200)                # {"tried": 200, "held": 200, "failed": 0}
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from erprm.errors import InputError
from erprm.files.json_files import read_record, write_record
from erprm.files.parts import Parts
from erprm.rollouts.store import Record, RolloutStore
from erprm.rows import StepRow, rows_as_bytes

SETTINGS = {"policy": "m"}
RECORD = {"number": 1, "accuracy": 0.8125, "divergence": None, "settings": {"task": "countdown", "etas": [0.5, 2.0]}}


def flips(folder: Path, random: random.Random, count: int) -> Counter[str]:
    """Flip `count` single bits, one after the other, in parts of completions and of scored rows, and in a record."""
    store, scored = folder / "store", folder / "scored.parts"
    with RolloutStore.open(store, SETTINGS) as opened:
        opened.commit([Record("ab", i, "p", f"step {i}\n", f"text {i}", "stop", i, None, i % 2 == 0)
                       for i in range(40)])
    with Parts.open(scored, SETTINGS, ".jsonl") as parts:
        parts.append(rows_as_bytes([StepRow("q", ("a",), scores=(0.5,))] * 40, ".jsonl"))
    record = folder / "iteration.json"
    write_record(record, RECORD)
    result: Counter[str] = Counter()
    for place in (record, store / "parts" / "000001.parquet", scored / "parts" / "000001.jsonl"):
        whole = place.read_bytes()
        for bit in random.sample(range(8 * len(whole)), count // 3):
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << bit % 8
            place.write_bytes(damaged)
            result["tried"] += 1
            held = _is_read_or_refused(place) if place == record else _is_noticed(place.parent.parent, place.suffix)
            result["held" if held else "failed"] += 1
            (place.parent.parent / "quarantine" / place.name).unlink(missing_ok=True)
    return result


def _is_read_or_refused(path: Path) -> bool:
    try:
        return read_record(path, "remove it", RECORD) == RECORD
    except InputError as error:
        return "\n" not in str(error)


def _is_noticed(folder: Path, suffix: str) -> bool:
    if suffix == ".parquet":
        with RolloutStore.open(folder, SETTINGS) as store:
            return not list(store.completed(texts=True)) and len(store.quarantined) == 1
    with Parts.open(folder, SETTINGS, suffix) as parts:
        return parts.read(1) is None and len(parts.quarantined) == 1
