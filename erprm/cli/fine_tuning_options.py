"""Options that the commands which fine-tune a policy share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, cast

from erprm.cli.config import option
from erprm.engines.prompts import PromptTemplate
from erprm.policy.fine_tuning import SFTOptions
from erprm.steps import SPLITTERS


@dataclass(frozen=True)
class FineTuningConfig(SFTOptions):
    """How a policy is asked, and how it is trained."""

    prompt: str = option("plain", help="how a question is put", choices=("plain", "chat"))
    prompt_text: str = option("{question}\n", help="the text around a question")
    system: str | None = option(None, help="system turn of a chat")
    splitter: str = option("newline", help="what stands between two steps", choices=SPLITTERS)
    dry_run: bool = option(False, help="print what would be done, and stop")


def template_of(config: FineTuningConfig) -> PromptTemplate:
    """The prompt template. Raises InputError."""
    return PromptTemplate(cast(Literal["plain", "chat"], config.prompt), config.prompt_text, config.system)


def options_of(config: FineTuningConfig) -> SFTOptions:
    """The options of training alone."""
    return SFTOptions(**{item.name: getattr(config, item.name) for item in dataclasses.fields(SFTOptions)})
