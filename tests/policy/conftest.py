"""The reward model that the tests of policies share."""

from pathlib import Path

import pytest
import tiny

from erprm.prm.model import PRM
from erprm.prm.spec import PRMSpec


@pytest.fixture(scope="module")
def prm(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prm")
    PRM.from_base(str(model_dir), tiny.tokenizer(), PRMSpec()).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder
