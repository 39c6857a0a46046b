"""Step scores from vLLM in this process equal those of transformers."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from erprm.errors import InputError
from erprm.prm.rows.tokens import EncodedRow, StepTokens, encode_rows
from erprm.prm.scoring.vllm import VLLMScorer
from erprm.steps import StepTags

pytestmark = [pytest.mark.vllm, pytest.mark.xdist_group("vllm")]


def rows_and_tokens() -> tuple[list[EncodedRow], StepTokens]:
    tokenizer = tiny.tokenizer()
    tokens = StepTokens.from_tokenizer(tokenizer, StepTags(tag=tiny.TAG, plus=tiny.PLUS, minus=tiny.MINUS))
    texts = [(f"{index}+3*4?", ["3*4=12", f"{index}+12={index + 12}", "x" * (17 * index)][: 1 + index % 3])
             for index in range(12)]
    return encode_rows(tokenizer, tokens, texts), tokens


@pytest.mark.parametrize("tie", [False, True])
def test_scores_equal_transformers(tmp_path: Path, tie: bool) -> None:
    tiny.save(tmp_path, tie=tie)
    rows, tokens = rows_and_tokens()
    scorer = VLLMScorer(str(tmp_path), tag_id=tokens.tag_id, labels=("Ġ+", "Ġ-"), max_model_len=512)
    found = scorer.score([row.ids for row in rows])
    model = tiny.llama(tie=tie)
    for row, scores in zip(rows, found, strict=True):
        with torch.no_grad():
            logits = model(torch.from_numpy(row.ids)[None]).logits[0, row.tag_positions]
        expected = logits[:, [tokens.plus_id, tokens.minus_id]].softmax(-1)[:, 0].numpy()
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)
    assert scorer.score([]) == []
    with pytest.raises(InputError, match="row 2: expected the step tag"):
        scorer.score([rows[0].ids, [1, 2, 3]])
    with pytest.raises(InputError, match="row 1: expected at most 512 tokens, found 601"):
        scorer.score([[1] * 600 + [tokens.tag_id]])
    scorer.close()
    with pytest.raises(InputError, match="closed"):
        scorer.score([rows[0].ids])


def test_a_label_that_is_no_token_is_refused(model_dir: Path) -> None:
    with pytest.raises(InputError, match="nope"):
        VLLMScorer(str(model_dir), tag_id=1, labels=("Ġ+", "nope"))
