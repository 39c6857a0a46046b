"""What is exported scores the same in the stock classes, keeps the input embedding, and is never half-written."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from erprm.cli import main
from erprm.errors import InputError
from erprm.prm.checkpoints.weights import WeightFiles
from erprm.prm.export import PROBE, export
from erprm.prm.model import PRM
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.spec import PRMSpec


def trained(folder: Path, loss: str = "pair", tie: bool = False) -> Path:
    """A PRM whose head is no longer the rows of the output head that it started from."""
    model = PRM.from_base(tiny.llama(tie=tie), tiny.tokenizer(), PRMSpec(loss=loss))
    with torch.no_grad():
        (model.lm_head if loss == "vocab" else model.score).weight.add_(0.1)
        if loss != "vocab":
            model.score.weight[1].mul_(2)
    model.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("loss", ["pair", "vocab", "beta_binomial"])
@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("to", ["causal-lm", "classification"])
def test_scores_survive_and_the_embedding_stays(tmp_path: Path, loss: str, tie: bool, to: str) -> None:
    source = trained(tmp_path / "prm", loss, tie)
    report = export(source, tmp_path / "out", to)
    assert report.difference <= 1e-5
    before, after = PRMScorer(source, device="cpu"), PRMScorer(tmp_path / "out", device="cpu")
    assert after.checkpoint.form == to
    for one, other in zip(before.score(PROBE), after.score(PROBE), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    name = "model.embed_tokens.weight"
    assert torch.equal(WeightFiles(source)[name], WeightFiles(tmp_path / "out")[name])


def test_a_tied_head_is_untied(tmp_path: Path) -> None:
    export(trained(tmp_path / "prm", tie=True), tmp_path / "out", "causal-lm")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not model.config.tie_word_embeddings
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()
    assert int((model.lm_head.weight.abs().sum(1) > 0).sum()) == 2


def test_there_and_back_gives_the_same_head(tmp_path: Path) -> None:
    source = trained(tmp_path / "prm")
    export(source, tmp_path / "causal", "causal-lm")
    export(tmp_path / "causal", tmp_path / "classes", "classification")
    assert torch.equal(WeightFiles(source)["score.weight"], WeightFiles(tmp_path / "classes")["score.weight"])
    again = PRM.load(tmp_path / "classes", tiny.tokenizer())
    assert again.spec.loss == "pair"


def test_an_exported_causal_model_goes_on_training_as_one(tmp_path: Path) -> None:
    export(trained(tmp_path / "prm"), tmp_path / "out", "causal-lm")
    assert PRM.load(tmp_path / "out", tiny.tokenizer()).spec.loss == "vocab"


def test_a_bias_has_no_place_in_the_causal_form(tmp_path: Path) -> None:
    model = PRM.from_base(tiny.llama(), tiny.tokenizer(), PRMSpec(loss="head"))
    with torch.no_grad():
        model.score.bias[0] = 1.0
    model.save_pretrained(tmp_path / "prm")
    tiny.tokenizer().save_pretrained(tmp_path / "prm")
    with pytest.raises(InputError, match="bias"):
        export(tmp_path / "prm", tmp_path / "out", "causal-lm")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prm"]
    assert export(tmp_path / "prm", tmp_path / "out", "classification").difference <= 1e-5


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path / "prm")
    command = ["export", "--model", str(tmp_path / "prm"), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert shown.out.strip().splitlines()[-1] == str(tmp_path / "out")
    assert "score the same" in shown.err
    script = tmp_path / "out" / "serve.sh"
    assert f"sh {script}" in shown.err
    assert "--convert classify --hf-overrides" in script.read_text()
    assert f'"step_tag_id": {tiny.tokenizer()(tiny.TAG).input_ids[0]}' in script.read_text()
    assert main(command) == 2
    assert "expected a new folder" in capsys.readouterr().err
