"""Every family trains, is saved, loaded, scored and exported with the stock model's scores, or is refused at once."""

from pathlib import Path

import pytest
from prm.families import FAMILIES, try_family

TABLE = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_does_what_the_table_says(family: str, tmp_path: Path) -> None:
    assert try_family(family, tmp_path) in TABLE
