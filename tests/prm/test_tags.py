"""With defaults only: the tag and labels that each real tokenizer gives, and one beginning of a row."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from prm.rows_of_steps import rows
from tokenizers import AddedToken, processors
from transformers import PreTrainedTokenizerFast

from erprm.errors import InputError
from erprm.prm.doctor.checks import diagnose
from erprm.prm.export import export
from erprm.prm.rows.tokens import StepTokens, encode_row
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.trainer import PRMTrainer
from erprm.rows import write_rows
from erprm.steps import AUTO, StepTags
from erprm.tokenizers import keeps_text

SPARE = "<|reserved_special_token_0|>"


def without_tag(*added: AddedToken, chat: str | None = None) -> PreTrainedTokenizerFast:
    """The byte-level tokenizer with neither " ки" nor "ки" as a token."""
    tokenizer = tiny.tokenizer((tiny.PLUS, tiny.MINUS))
    tokenizer.backend_tokenizer.add_special_tokens(list(added))
    tokenizer.chat_template = chat
    return tokenizer


TAG_OF = {"llama2": " ки", "llama3_1": " ки", "gemma3": " ки", "qwen3": "ки", "deepseek_v3": " ки"}


@pytest.mark.parametrize(("name", "tag"), TAG_OF.items())
def test_real_tokenizers_have_a_tag_and_labels(name: str, tag: str, real_tokenizer) -> None:
    tokenizer = real_tokenizer(name)
    tokens = StepTokens.from_tokenizer(tokenizer)
    assert tokens.tags == StepTags(tag=tag)
    steps = ["1 + 2 = 3.", "Also:\n  `x = 1`", "The answer is 3"]
    row = encode_row(tokenizer, tokens, "What is 1 + 2?", steps)
    assert len(row.tag_positions) == len(steps)
    body = row.ids if tokens.bos_id is None else row.ids[1:]
    assert tokenizer.decode(body, clean_up_tokenization_spaces=False) == \
        "What is 1 + 2?\n" + f"{tag}\n".join(steps) + tag
    assert keeps_text(tokenizer)


@pytest.mark.parametrize("name", TAG_OF)
def test_doctor_training_export_and_scoring_with_defaults_only(name: str, real_tokenizers: Path, real_tokenizer,
                                                               tmp_path: Path) -> None:
    tokenizer = real_tokenizer(name)
    policy = shutil.copytree(real_tokenizers / name, tmp_path / "policy")
    tiny.llama(hidden=32, layers=1, vocabulary=len(tokenizer)).save_pretrained(policy)
    write_rows(tmp_path / "rows.jsonl", rows(3, 2))
    diagnosis = diagnose(policy, tmp_path / "rows.jsonl")
    assert diagnosis.healthy
    assert diagnosis.tokens is not None
    assert diagnosis.tokens.tags.tag == TAG_OF[name]
    arguments = PRMConfig(str(tmp_path / "run"), max_steps=2, learning_rate=1e-2, report_to="none", disable_tqdm=True,
                          save_strategy="no")
    trainer = PRMTrainer(str(policy), arguments, rows(3, 2), processing_class=tokenizer)
    trainer.train()
    trainer.save_model(str(tmp_path / "prm"))
    assert json.loads((tmp_path / "prm" / "erprm.json").read_text(encoding="utf-8"))["tags"]["tag"] == TAG_OF[name]
    report = export(tmp_path / "prm", tmp_path / "causal", "causal-lm")
    assert report.difference <= 1e-5
    evaluation = trainer.get_eval_dataloader(rows(3, 2))
    own = trainer.evaluation_loop(evaluation, "").predictions
    scores = np.concatenate(PRMScorer(tmp_path / "causal", device="cpu").score(rows(3, 2)))
    np.testing.assert_allclose(scores, own, atol=1e-5)


def test_an_unused_special_token_where_neither_is_one_token() -> None:
    tokenizer = without_tag(AddedToken("<|turn|>", special=True), AddedToken("<|vision|>", special=True),
                            AddedToken(SPARE, special=True), chat="<|turn|>{{ messages }}")
    assert StepTokens.from_tokenizer(tokenizer).tags == StepTags(tag=SPARE)
    tokenizer = without_tag(AddedToken("<|turn|>", special=True), AddedToken("<|vision|>", special=True),
                            chat="<|turn|>{{ messages }}")
    assert StepTokens.from_tokenizer(tokenizer).tags.tag == "<|vision|>"
    with pytest.raises(InputError, match="tag: found none"):
        StepTokens.from_tokenizer(without_tag())


def test_what_is_given_is_kept() -> None:
    tokens = StepTokens.from_tokenizer(tiny.tokenizer(), StepTags(tag=AUTO, plus="+", minus="-"))
    assert tokens.tags == StepTags(plus="+", minus="-")


def test_a_prompt_that_begins_with_the_beginning_of_sequence_gets_no_second() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)])
    tokens = StepTokens.from_tokenizer(tokenizer)
    plain, rendered = (encode_row(tokenizer, tokens, prompt, ["a", "b"]) for prompt in ("q", "<s>q"))
    assert rendered.ids.tolist() == plain.ids.tolist()
