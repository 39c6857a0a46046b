"""Logits that are not h . w: scaled, capped, with a bias. Every way to a score or loss honours or refuses them."""

from pathlib import Path

import pytest
import torch
from prm.families import TOKENIZER, causal
from prm.rows_of_steps import rows

from erprm.errors import InputError
from erprm.prm.export import export
from erprm.prm.model import PRM
from erprm.prm.rows.tokens import StepTokens, encode_row
from erprm.prm.spec import PRMSpec
from erprm.prm.training.patch import patch

TOKENS = StepTokens.from_tokenizer(TOKENIZER)
ROW = encode_row(TOKENIZER, TOKENS, rows(1, 1)[0].prompt, rows(1, 1)[0].steps)
IDS, AT = torch.from_numpy(ROW.ids)[None], torch.from_numpy(ROW.tag_positions)
LINEAR = ("granite", "cohere", "llama")


def stock_log_probabilities(family: str) -> torch.Tensor:
    """[M, V] at the tags."""
    with torch.no_grad():
        return causal(family)(IDS).logits[0, AT].log_softmax(-1)


@pytest.mark.parametrize("family", LINEAR)
def test_the_vocab_loss_is_that_of_the_stock_logits(family: str) -> None:
    model = PRM.from_base(causal(family), TOKENIZER, PRMSpec(loss="vocab")).eval()
    output = model(IDS, AT, labels=torch.ones(len(AT)))
    expected = stock_log_probabilities(family)[:, TOKENS.plus_id]
    torch.testing.assert_close(output.loss, -expected.mean(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", [*LINEAR, "phi"])
def test_a_patched_model_starts_from_the_stock_scores(family: str) -> None:
    labels = torch.full(IDS.shape, -100.0)
    labels[0, AT] = 1.0
    scores = patch(causal(family), TOKENIZER)(input_ids=IDS, labels=labels).scores
    pair = stock_log_probabilities(family)[:, [TOKENS.plus_id, TOKENS.minus_id]].softmax(-1)
    torch.testing.assert_close(scores, pair[:, 0], atol=1e-5, rtol=0)


def test_what_has_no_place_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="final_logit_softcapping: expected none for the vocab loss, found 3"):
        PRM.from_base(causal("gemma2"), TOKENIZER, PRMSpec(loss="vocab"))
    with pytest.raises(InputError, match="final_logit_softcapping: expected none for the patched loss"):
        patch(causal("gemma2"), TOKENIZER)
    with pytest.raises(InputError, match=r"vocab has no place for the model's lm_head\.bias"):
        PRM.from_base(causal("phi"), TOKENIZER, PRMSpec(loss="vocab"))
    PRM.from_base(causal("olmo2"), TOKENIZER).save_pretrained(tmp_path / "prm")
    TOKENIZER.save_pretrained(tmp_path / "prm")
    with pytest.raises(InputError, match="to: expected causal-lm, found classification"):
        export(tmp_path / "prm", tmp_path / "out", "classification")
