"""The PRM as a stock checkpoint, its losses, and the last block at the tags, for each model family."""

import copy
from pathlib import Path

import pytest
import tiny
import torch
from prm.rows_of_steps import rows
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from erprm.errors import InputError
from erprm.prm.model import PRM
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.spec import LOSSES, PRMSpec
from erprm.prm.training.batches import Collator
from erprm.prm.training.encode import encode_dataset
from erprm.prm.training.patch import patch
from erprm.values.spec import TargetSpec

TOKENIZER = tiny.tokenizer()
TOKENS = StepTokens.from_tokenizer(TOKENIZER)
DATASET, _ = encode_dataset(rows(3, 3), TOKENIZER, TOKENS)
BATCH = Collator(DATASET, TargetSpec(), learnt="draws")(range(len(DATASET))) | Collator(DATASET, TargetSpec())(
    range(len(DATASET)))
SHAPE = {"vocab_size": len(TOKENIZER), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1}


def causal(family: str) -> PreTrainedModel:
    """A random tiny model with grouped key-value heads."""
    torch.manual_seed(1)
    if family == "mistral":
        return MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=8))
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**SHAPE, tie_word_embeddings=True))
    return tiny.llama(tie=family == "llama-tied")


FAMILIES = ("llama", "llama-tied", "mistral", "qwen2")


def gradients(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_block_at_the_tags_is_exact(family: str) -> None:
    model = PRM.from_base(causal(family), TOKENIZER)
    assert model.at_tags
    output = model(**BATCH)
    output.loss.backward()
    short = gradients(model)
    model.zero_grad()
    model.at_tags = False
    whole = model(**BATCH)
    whole.loss.backward()
    torch.testing.assert_close(output.scores, whole.scores, atol=1e-6, rtol=0)
    torch.testing.assert_close(short, gradients(model), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("family", "loss"), [*(("llama", loss) for loss in LOSSES), ("llama-tied", "vocab"),
                                              *((family, "pair") for family in FAMILIES[1:])])
def test_a_saved_model_is_a_stock_checkpoint_with_the_same_scores(family: str, loss: str, tmp_path: Path) -> None:
    model = PRM.from_base(causal(family), TOKENIZER, PRMSpec(loss=loss, targets={"kind": "soft"})).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # away from the initial state, in which a bias is zero
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    ids, tags = BATCH["input_ids"], BATCH["tag_positions"]
    expected = model(ids, tags).scores
    again = PRM.load(tmp_path, TOKENIZER)
    assert again.spec == model.spec
    torch.testing.assert_close(again(ids, tags).scores, expected, atol=1e-6, rtol=0)
    if loss == "vocab":
        stock = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
        logits = stock(ids).logits.flatten(0, 1)[tags][:, [TOKENS.minus_id, TOKENS.plus_id]]
    else:
        stock = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
        assert stock.config.id2label == {0: "-", 1: "+"}
        logits = stock(ids).logits.flatten(0, 1)[tags]
    torch.testing.assert_close(logits.softmax(-1)[:, 1], expected, atol=1e-6, rtol=0)


def test_the_pair_head_begins_as_the_rows_of_the_label_tokens_and_the_embedding_stays_its_own() -> None:
    base = causal("llama-tied")
    rows_before = base.lm_head.weight[[TOKENS.minus_id, TOKENS.plus_id]].clone()
    model = PRM.from_base(base, TOKENIZER)
    torch.testing.assert_close(model.score.weight.data, rows_before)
    with torch.no_grad():
        model.score.weight.add_(1.0)
    torch.testing.assert_close(model.get_input_embeddings().weight[[TOKENS.minus_id, TOKENS.plus_id]], rows_before)


def test_the_pair_loss_is_the_papers() -> None:
    """Its trainer: float32 logits of all positions, the two label columns at the tags, cross-entropy to (v, 1 - v)."""
    base = causal("llama")
    ids, tags, values = BATCH["input_ids"], BATCH["tag_positions"], BATCH["labels"]
    model = PRM.from_base(copy.deepcopy(base), TOKENIZER)
    output = model(**BATCH)
    output.loss.backward()

    logits = base(ids).logits.float()
    pair = logits.flatten(0, 1)[tags][:, [TOKENS.plus_id, TOKENS.minus_id]]
    loss = nn.functional.cross_entropy(pair, torch.stack([values, 1 - values], dim=1))
    loss.backward()
    torch.testing.assert_close(output.loss, loss, atol=1e-6, rtol=0)
    ours, theirs = dict(model.named_parameters()), dict(base.named_parameters())
    for name, parameter in theirs.items():
        if name == "lm_head.weight":
            expected = parameter.grad[[TOKENS.minus_id, TOKENS.plus_id]]
            torch.testing.assert_close(ours["score.weight"].grad, expected, atol=1e-6, rtol=0)
        else:
            torch.testing.assert_close(ours[name].grad, parameter.grad, atol=1e-6, rtol=0)


def test_a_copied_model_runs_its_own_last_block() -> None:
    model = PRM.from_base(causal("llama"), TOKENIZER)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.model.layers[-1].mlp.down_proj.weight.zero_()
    assert not torch.allclose(model(**BATCH).scores, twin(**BATCH).scores)


def test_bfloat16_scores_are_near_and_the_loss_is_float32() -> None:
    model = PRM.from_base(causal("llama"), TOKENIZER)
    expected = model(**BATCH).scores
    output = model.to(torch.bfloat16)(**BATCH)
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.scores, expected, atol=0.1, rtol=0)


def test_other_forms_are_refused_by_name() -> None:
    odd = GPT2LMHeadModel(GPT2Config(vocab_size=len(TOKENIZER), n_embd=32, n_layer=1, n_head=1))
    with pytest.raises(InputError, match="found GPT2LMHeadModel"):
        PRM.from_base(odd, TOKENIZER)
    small = causal("llama")
    small.lm_head = nn.Linear(64, 100)
    with pytest.raises(InputError, match="vocabulary of 100"):
        PRM.from_base(small, TOKENIZER)


@pytest.mark.parametrize(("text", "message"), [("{", "problem with"), ('{"loss": "mse", "tags": {}}', "found 'mse'"),
                                               (None, "no such file")])
def test_a_broken_description_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "erprm.json").write_text(text)
    with pytest.raises(InputError, match=message):
        PRMSpec.load(tmp_path)


@pytest.mark.parametrize("form", ["classifier", "causal"])
def test_patch_gives_a_stock_model_the_step_loss(form: str) -> None:
    """Labels -100 away from the tags, the padding masked: the batch of a usual Trainer script."""
    base = causal("llama")
    prm = PRM.from_base(copy.deepcopy(base), TOKENIZER)
    expected = prm(**BATCH)
    expected.loss.backward()
    if form == "classifier":
        model = AutoModelForTokenClassification.from_config(prm.config)
        model.load_state_dict(prm.state_dict())
        patch(model)
    else:
        model = patch(base, TOKENIZER)
    ids = BATCH["input_ids"]
    labels = torch.full((ids.numel(),), -100.0).index_copy(0, BATCH["tag_positions"], BATCH["labels"]).view_as(ids)
    lengths = torch.from_numpy(DATASET.lengths)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    output = model(input_ids=ids, attention_mask=mask, labels=labels, num_items_in_batch=len(BATCH["labels"]))
    output.loss.backward()
    torch.testing.assert_close(output.loss, expected.loss, atol=1e-6, rtol=0)
    for (name, ours), theirs in zip(prm.model.named_parameters(), model.model.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0, msg=name)
    assert model(input_ids=ids).logits.shape[:2] == ids.shape  # without labels it is the stock model


def test_patch_refuses_what_it_cannot_serve() -> None:
    with pytest.raises(InputError, match="expected the tokenizer"):
        patch(causal("llama"))
    with pytest.raises(InputError, match="found LlamaModel"):
        patch(causal("llama").model)
