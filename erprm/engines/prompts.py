"""How a question and a partial solution become the token ids that a policy continues.

    PromptTemplate().ids(tokenizer, "2+3*4?", "3*4=12\\n")                     # base model: question, newline, prefix
    PromptTemplate(kind="chat", system="Reason step by step.").ids(...)        # chat model: the assistant has begun

A chat model's partial solution always continues the assistant's turn, behind the template's own generation prompt.
Prompt and partial solution are read apart, so that the policy sees exactly the tokens that it would have seen had it
written the prefix itself: one read ("A:" and a line break) has tokens across the seam that it never writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import jinja2

from erprm.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """The text around a question.

    Attributes:
        kind: "plain" for base models, "chat" for models with a chat template.
        text: what `kind="plain"` puts before the prefix; `{question}` stands for the question. For chat models it is
            the user's turn.
        system: the system turn of a chat; none when it is None.
    """

    kind: Literal["plain", "chat"] = "plain"
    text: str = "{question}\n"
    system: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("plain", "chat"):
            raise InputError(f"prompt: expected 'plain' or 'chat', found {self.kind!r}")
        if "{question}" not in self.text:
            raise InputError(f"prompt text: expected a template with {{question}}, found {self.text!r}")
        if self.kind == "plain" and self.system is not None:
            raise InputError("system: only a chat prompt has a system turn; write it into the prompt text")

    def render(self, tokenizer: PreTrainedTokenizerBase, question: str, prefix: str) -> str:
        """The prompt as text, as the policy's tokenizer reads it (a plain prompt's BOS is left to `ids`)."""
        asked = self.text.replace("{question}", question)
        if self.kind == "plain":
            return asked + prefix
        if not getattr(tokenizer, "chat_template", None):
            raise InputError("prompt: kind 'chat' needs a tokenizer with a chat template; this one has none")
        turns = [{"role": "system", "content": self.system}] if self.system is not None else []
        turns.append({"role": "user", "content": asked.rstrip("\n")})
        try:
            return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)) + prefix
        except jinja2.TemplateError as error:
            raise InputError(f"prompt: the model's chat template refuses the turns "
                             f"{', '.join(turn['role'] for turn in turns)}: {error}") from error

    def ids(self, tokenizer: PreTrainedTokenizerBase, question: str, prefix: str) -> list[int]:
        """Token ids of the prompt with the partial solution `prefix`, [T].

        A plain prompt begins with one BOS where the tokenizer adds one, whether or not its text has it; an
        end-of-sequence token is never added. A chat template writes its own special tokens.

        Raises:
            InputError: for a chat prompt without a chat template, and for a prompt without any token.
        """
        return self.many_ids(tokenizer, [(question, prefix)])[0]

    def many_ids(self, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[tuple[str, str]]) -> list[list[int]]:
        """`ids` of each (question, prefix), in few calls of the tokenizer: a call costs more than a prompt's text."""
        if not prompts:
            return []
        questions = list(dict.fromkeys(question for question, _ in prompts))
        texts = [self.render(tokenizer, question, "") for question in questions]
        asked = dict(zip(questions, _encoded(tokenizer, texts), strict=True))
        found = [asked[question] + written for (question, _), written in zip(
            prompts, continuations(tokenizer, [prefix for _, prefix in prompts]), strict=True)]
        added = tokenizer("", add_special_tokens=True)["input_ids"] if self.kind == "plain" else []
        if tokenizer.bos_token_id in added:
            bos = tokenizer.bos_token_id
            return [ids if ids[:1] == [bos] else [bos, *ids] for ids in found]
        if not all(found):
            raise InputError("prompt: expected at least one token, found an empty question and prefix")
        return found

    def check(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Raise InputError where the tokenizer's chat template can't write the turns, before weights are loaded."""
        self.render(tokenizer, "1+1?", "")

    def fingerprint(self) -> str:
        """A text that differs between templates which give different prompts."""
        return f"{self.kind}:{self.text!r}" + (f":{self.system!r}" if self.system is not None else "")


def continuations(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts behind others, as a policy writes them: without the space that some tokenizers put before
    the first word of what they read."""
    alone, letter, both = _encoded(tokenizer, ["\n", "a", "\na"])
    if both == alone + letter:
        return _encoded(tokenizer, texts)
    found = _encoded(tokenizer, [f"\n{text}" for text in texts])
    if any(ids[: len(alone)] != alone for ids in found):
        raise InputError("prompt: expected a tokenizer that reads a line break by itself or adds no space before a "
                         "text, found neither")
    return [ids[len(alone):] for ids in found]


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
    return found
