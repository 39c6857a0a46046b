"""Ids and tag positions: what training and scoring both read."""

import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, processors

from erprm.errors import InputError
from erprm.prm.rows.tokens import StepTokens, encode_row, encode_rows
from erprm.steps import StepTags

TOKENIZER = tiny.tokenizer()
TOKENS = StepTokens.from_tokenizer(TOKENIZER)
STEPS = st.lists(st.text(alphabet="ab +-=1234\nк\u0438é", min_size=1, max_size=12).filter(lambda s: "ки" not in s),
                 min_size=1, max_size=5)


@given(prompt=st.text(alphabet="xy 12?", max_size=10), steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_the_ids_spell_the_row_with_one_tag_per_step(prompt: str, steps: list[str]) -> None:
    row = encode_row(TOKENIZER, TOKENS, prompt, steps)
    assert len(row.tag_positions) == len(steps)
    assert np.all(row.ids[row.tag_positions] == TOKENS.tag_id)
    assert row.tag_positions[-1] == len(row.ids) - 1
    assert TOKENIZER.decode(row.ids) == prompt + "\n" + " ки\n".join(steps) + " ки"


@given(steps=STEPS)
@settings(max_examples=30, deadline=None)
def test_a_prefix_of_the_steps_is_a_prefix_of_the_ids(steps: list[str]) -> None:
    whole = encode_row(TOKENIZER, TOKENS, "q", steps)
    for length in range(1, len(steps) + 1):
        part = encode_row(TOKENIZER, TOKENS, "q", steps[:length])
        np.testing.assert_array_equal(part.ids, whole.ids[: len(part.ids)])


def test_many_rows_at_once_are_the_same_rows() -> None:
    pairs = [("q", ["a", "b c"]), ("q", ["a", "d"]), ("other", ["a"])]
    for row, (prompt, steps) in zip(encode_rows(TOKENIZER, TOKENS, pairs), pairs, strict=True):
        np.testing.assert_array_equal(row.ids, encode_row(TOKENIZER, TOKENS, prompt, steps).ids)


@pytest.mark.parametrize("name", ["tag", "plus", "minus"])
def test_a_tag_of_several_tokens_is_refused_with_its_pieces(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} ' abc': expected exactly one token.*'a', 'b', 'c'"):
        StepTokens.from_tokenizer(TOKENIZER, StepTags(**{name: " abc"}))


def test_equal_label_tokens_are_refused() -> None:
    with pytest.raises(InputError, match="three different tokens"):
        StepTokens.from_tokenizer(TOKENIZER, StepTags(plus=" -"))


@pytest.mark.parametrize("tag", [" ки", "\n\n", "\n", "?", "<s>"])
def test_a_tag_that_the_policy_wrote_ends_no_step_and_keeps_its_characters(tag: str) -> None:
    tokenizer = tiny.tokenizer(("\n\n", *tiny.tokenizer.__defaults__[0]))
    tokens = StepTokens.from_tokenizer(tokenizer, StepTags(tag=tag, prompt_end="|", step_end="|"))
    row = encode_row(tokenizer, tokens, f"q{tag}", [f"a{tag}b{tag}", "c", f"{tag}d"])
    assert row.written == {"\n\n": 1}.get(tag, 4)  # before a letter these are two tokens
    assert len(row.tag_positions) == (row.ids == tokens.tag_id).sum() == 3
    assert row.tag_positions[-1] == len(row.ids) - 1
    assert encode_row(tokenizer, tokens, "q", ["a", "c"]).written == 0
    kept = tokenizer.decode(row.ids).replace("|", "")
    stand_in = {"\n": " ", "?": "#"}.get(tag, tag)  # a tag of one character has no other spelling
    assert kept == f"q{stand_in}a{stand_in}b{stand_in}{tag}c{tag}{stand_in}d{tag}"


def test_a_row_without_steps_is_refused() -> None:
    with pytest.raises(InputError, match="at least one step"):
        encode_row(TOKENIZER, TOKENS, "q", [])


def test_the_beginning_of_sequence_token_stands_first_where_the_tokenizer_adds_it() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)])
    tokens = StepTokens.from_tokenizer(tokenizer)
    row = encode_row(tokenizer, tokens, "q", ["a", "b"])
    assert row.ids[0] == tokenizer.bos_token_id
    assert list(row.ids).count(tokenizer.bos_token_id) == 1


def test_a_word_start_sign_is_not_set_behind_a_tag() -> None:
    """SentencePiece tokenizers put one before every text; behind the tag, a step reads as in the full text."""
    letters = [*"▁\nabkи+-123qx)", "▁k", "▁kи", "▁+", "▁-"]
    core = Tokenizer(models.BPE(vocab={piece: at for at, piece in enumerate(["<unk>", *letters])},
                                merges=[("▁", "k"), ("▁k", "и"), ("▁", "+"), ("▁", "-")], unk_token="<unk>"))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core.decoder = decoders.Replace("▁", " ")
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    tokens = StepTokens.from_tokenizer(tokenizer, StepTags(tag=" kи"))
    row = encode_row(tokenizer, tokens, "q", ["a", "b"])
    assert list(row.ids) == tokenizer("q\na kи\nb kи", add_special_tokens=False).input_ids
