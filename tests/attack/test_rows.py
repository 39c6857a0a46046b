"""Mutated rows and flipped bits, as many as a minute allows; `make attack` has the long form."""

import random
from pathlib import Path

from attack.flips import flips
from attack.mutations import mutations


def test_mutated_rows_are_read_counted_or_refused(tmp_path: Path) -> None:
    found = mutations(tmp_path, random.Random(0), 1000)
    assert found == {"tried": 1000, "held": 1000}


def test_flipped_bits_of_parts_are_noticed(tmp_path: Path) -> None:
    found = flips(tmp_path, random.Random(0), 100)
    assert found == {"tried": 100, "held": 100}
