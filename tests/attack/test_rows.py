"""Mutated rows and flipped bits, as many as a minute allows; `make attack` has the long form."""

import random
from pathlib import Path

from attack.counts import LONG, count
from attack.flips import flips
from attack.mutations import mutations


def test_mutated_rows_are_read_counted_or_refused(tmp_path: Path) -> None:
    tried = 20_000 if LONG else 1000
    found = mutations(tmp_path, random.Random(0), tried)
    count("mutated rows", found["tried"], found["held"])
    assert found == {"tried": tried, "held": tried}


def test_flipped_bits_of_parts_are_noticed(tmp_path: Path) -> None:
    tried = 6000 if LONG else 300
    found = flips(tmp_path, random.Random(0), tried)
    count("flipped bits", found["tried"], found["held"])
    assert found == {"tried": tried, "held": tried}
