"""Options that the commands which fine-tune a policy share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from erprm.cli.config import option
from erprm.cli.prompt_options import PromptConfig
from erprm.policy.fine_tuning import SFTOptions
from erprm.steps import SPLITTERS


@dataclass(frozen=True)
class FineTuningConfig(PromptConfig, SFTOptions):
    """How a policy is asked, and how it is trained."""

    splitter: str = option("newline", help="what stands between two steps", choices=SPLITTERS)
    dry_run: bool = option(False, help="print what would be done, and stop")


def options_of(config: FineTuningConfig) -> SFTOptions:
    """The options of training alone. Raises InputError for a tracker that is not there."""
    from erprm.prm.training.config import check_trackers

    check_trackers(config.report_to)
    return SFTOptions(**{item.name: getattr(config, item.name) for item in dataclasses.fields(SFTOptions)})
