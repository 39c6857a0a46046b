"""Options of the commands that ask a policy: the text around a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from erprm.cli.config import option
from erprm.engines.prompts import PromptTemplate


@dataclass(frozen=True)
class PromptConfig:
    """How a question is put."""

    prompt: str = option("plain", help="how a question is put: plain text, or the user's turn of a chat whose "
                                       "assistant's turn the solution is", choices=("plain", "chat"))
    prompt_text: str = option("{question}\n", help="the text around a question", breaks=True)
    system: str | None = option(None, help="system turn of a chat", breaks=True)


def template_of(config: PromptConfig) -> PromptTemplate:
    """The prompt template. Raises InputError."""
    return PromptTemplate(cast(Literal["plain", "chat"], config.prompt), config.prompt_text, config.system)
