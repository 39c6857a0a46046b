"""What the policy is asked to continue."""

import pytest
import tiny
from tokenizers import processors

from erprm.engines import PromptTemplate
from erprm.errors import InputError
from erprm.policy.fine_tuning import encode

CHAT = ("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if not loop.last or add_generation_prompt %}</>"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}")


def test_a_plain_prompt_is_the_question_then_the_prefix() -> None:
    tokenizer = tiny.tokenizer()
    ids = PromptTemplate(text="Q: {question}\nA: ").ids(tokenizer, "2+{x}?", "3*4=12\n")
    assert tokenizer.decode(ids) == "Q: 2+{x}?\nA: 3*4=12\n"


def test_bos_is_added_where_the_tokenizer_adds_one_and_eos_never() -> None:
    tokenizer = tiny.tokenizer()
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", bos), ("</s>", eos)])
    ids = PromptTemplate().ids(tokenizer, "2+3?", "")
    assert ids[0] == bos
    assert eos not in ids


def test_a_bos_that_is_typed_into_a_plain_prompt_is_not_doubled() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)])
    typed, plain = PromptTemplate(text="<s>Q: {question}\n"), PromptTemplate(text="Q: {question}\n")
    prompts = [("2+3?", ""), ("2+3?", "3*4=12\n")]
    assert typed.many_ids(tokenizer, prompts) == plain.many_ids(tokenizer, prompts)
    assert encode(tokenizer, typed, "2+3?", "5") == encode(tokenizer, plain, "2+3?", "5")  # what sft and dpo learn


def test_a_chat_prefix_continues_the_assistants_turn_with_its_last_newline() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = CHAT
    template = PromptTemplate(kind="chat", system="Be brief.")
    text = template.render(tokenizer, "2+3*4?", "3*4=12\n")
    assert text == "<system>Be brief.</><user>2+3*4?</><assistant>3*4=12\n"
    assert tokenizer.decode(template.ids(tokenizer, "2+3*4?", "3*4=12\n")) == text


@pytest.mark.parametrize(("options", "words"), [
    ({"kind": "chatty"}, "'plain' or 'chat'"), ({"text": "no place"}, "{question}"), ({"system": "x"}, "chat prompt")])
def test_a_template_that_cannot_work_is_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        PromptTemplate(**options)  # type: ignore[arg-type]


def test_chat_without_a_chat_template_is_refused() -> None:
    with pytest.raises(InputError, match="chat template"):
        PromptTemplate(kind="chat").ids(tiny.tokenizer(), "2+3?", "")


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="at least one token"):
        PromptTemplate(text="{question}").ids(tiny.tokenizer(), "", "")
