"""vLLM's own OpenAI-style server, started by the exported model's script, scores as transformers does."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from prm.exported_server import free_port, serving
from prm.rows_of_steps import rows as step_rows
from transformers import AutoModelForCausalLM, PreTrainedModel

from erprm.errors import InputError
from erprm.prm.export import SERVE_NAME, export
from erprm.prm.rows.tokens import EncodedRow, StepTokens, encode_rows
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.scoring.vllm import VLLMServer
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.trainer import PRMTrainer
from erprm.steps import StepTags

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.xdist_group("servers")]

TOKENS = StepTokens.from_tokenizer(tiny.tokenizer(), StepTags(tag=tiny.TAG, plus=tiny.PLUS, minus=tiny.MINUS))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a PRM that was trained here, "prm", and its causal-LM form, "causal"."""
    folder = tmp_path_factory.mktemp("trained")
    args = PRMConfig(str(folder / "run"), per_device_train_batch_size=4, learning_rate=1e-2, max_steps=3,
                     report_to="none", disable_tqdm=True, save_strategy="no", use_cpu=True)
    run = PRMTrainer(tiny.llama(), args, step_rows(4, 3), processing_class=tiny.tokenizer())
    run.train()
    run.save_model(str(folder / "prm"))
    export(folder / "prm", folder / "causal", "causal-lm")
    return folder


@pytest.fixture
def server(trained: Path) -> Iterator[str]:
    """The address of a server that has started; it is stopped at the end."""
    with serving(trained / "causal", "--max-model-len", "512") as address:
        yield address


def test_a_trained_model_scores_the_same_in_transformers_and_in_vllm_offline_and_served(server: str, trained: Path,
                                                                                        ) -> None:
    texts = [(f"{index}+3?", [f"{index}+3={index + 3}", "done"][: 1 + index % 2]) for index in range(5)]
    rows = encode_rows(tiny.tokenizer(), TOKENS, texts)
    client = VLLMServer(server, batch_rows=2)
    assert client.tag_id == TOKENS.tag_id  # of the served folder's erprm.json
    served = client.score([row.ids for row in rows])
    scorer = PRMScorer(trained / "causal", "vllm", dtype="float32", vllm_options={"max_model_len": 256})
    offline = scorer.score(texts)
    scorer.close()
    model, start = AutoModelForCausalLM.from_pretrained(trained / "causal"), tiny.llama()
    for row, *found in zip(rows, PRMScorer(trained / "prm", device="cpu").score(texts), offline, served, strict=True):
        expected, untrained = (scores_of(network, row) for network in (model, start))
        assert np.abs(expected - untrained).max() > 1e-3
        for scores in found:
            np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="row 1: expected scores of shape"):
        VLLMServer(server, tag_id=1).score([[1, 1, TOKENS.tag_id]])
    with pytest.raises(InputError, match="model: expected one that"):
        VLLMServer(server, model="another")
    with pytest.raises(InputError, match="400"):
        client.score([[1] * 600 + [TOKENS.tag_id]])


def scores_of(model: PreTrainedModel, row: EncodedRow) -> np.ndarray:
    """The softmax of the two label tokens' logits at the tags, by stock transformers."""
    with torch.no_grad():
        logits = model(torch.from_numpy(row.ids)[None]).logits[0, row.tag_positions]
    return logits[:, [TOKENS.plus_id, TOKENS.minus_id]].softmax(-1)[:, 0].numpy()


def test_no_server_is_one_line() -> None:
    with pytest.raises(InputError, match="expected a vLLM server"):
        VLLMServer(f"http://127.0.0.1:{free_port()}")


def test_an_old_vllm_is_refused_by_the_script_before_it_starts(trained: Path, tmp_path: Path) -> None:
    found = tmp_path / "vllm-0.29.1.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.29.1\n", encoding="ascii")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
                   "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ended = subprocess.run(["sh", str(trained / "causal" / SERVE_NAME)], env=environment, text=True, check=False,
                           capture_output=True)
    assert ended.returncode == 2
    assert ended.stderr.strip() == "serve.sh: expected vLLM 0.30 or newer, found 0.29.1"
