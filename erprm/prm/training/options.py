"""What training is told besides transformers' own arguments; read by `PRMConfig` and, without torch, the command line.

    @dataclass
    class Config(PRMOptions): ...                     # `erprm train` has a flag for each of these
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from erprm.options import option
from erprm.prm.spec import LOSSES
from erprm.steps import AUTO_TAGS, StepTags
from erprm.values import ESTIMATORS, KINDS
from erprm.values.spec import TargetSpec

AUTO = "auto"
TOO_LONG = ("cut", "drop")
LAYOUTS = ("auto", "padded", "packed", "shared")
_TAGS = AUTO_TAGS


@dataclass
class RowOptions:
    """How rows become tokens."""

    max_length: int = option(512, help="most tokens of a row", least=1)
    tag: str = option(_TAGS.tag, help="the token behind each step; auto: ' ки' or 'ки', whichever is one token of the "
                     "model, else a special token that it doesn't use", breaks=True)
    plus: str = option(_TAGS.plus, help="the token of a good step; auto: ' +', or '+'")
    minus: str = option(_TAGS.minus, help="the token of a bad step; auto: ' -', or '-'")
    prompt_end: str = option(_TAGS.prompt_end, help="text between prompt and first step", breaks=True)
    step_end: str = option(_TAGS.step_end, help="text between a tag and the next step", breaks=True)

    def tags(self) -> StepTags:
        """The texts around steps."""
        return StepTags(self.tag, self.plus, self.minus, self.prompt_end, self.step_end)


@dataclass
class TargetOptions:
    """Which target a step gets."""

    target: str = option(AUTO, help="target of a step", choices=KINDS, auto="er for rows with counts, else labels")
    eta: float | Sequence[float] | str = option(
        2.0, help="inverse temperature of the er and td targets, a finite number; several: one model learns each")
    estimator: str = option("plug-in", help="estimator of the er and td targets", choices=ESTIMATORS)
    threshold: float = option(0.0, help="the hard target is 1 where k/n, or the best reward, is above")
    epsilon: float = option(0.5, help="the progress target is 1 where a step keeps this share of the success rate "
                                      "before it", above=0)
    horizon: int = option(1, help="steps that the td target looks ahead", least=0)
    td_weight: float = option(1.0, help="weight of the later value in the td target", least=0, most=1)

    def target_spec(self, has_counts: bool) -> TargetSpec:
        """The targets, with "auto" resolved. Raises InputError."""
        kind = ("er" if has_counts else "labels") if self.target == AUTO else self.target
        return TargetSpec(kind, self.eta, self.estimator, self.threshold, epsilon=self.epsilon, horizon=self.horizon,
                          weight=self.td_weight)


@dataclass
class PRMOptions(RowOptions, TargetOptions):
    """All of them."""

    loss: str = option("pair", help="training loss", choices=LOSSES)
    concentration: float | str = option(
        8.0, help="of the beta_binomial loss, in completions; learnt: the model predicts it for each step", above=0)
    too_long: str = option("cut", help="a longer row is cut behind a step, or dropped", choices=TOO_LONG)
    strict: bool = option(False, help="a row that would be dropped is an error")
    layout: str = option(AUTO, help="how rows are put into batches: padded (length-grouped rows), packed (rows behind "
                         "each other), shared (prefixes of a problem's rows computed once); auto is shared where it "
                         "saves enough, else packed on a GPU and padded on a CPU", choices=LAYOUTS)
    length_window: int = option(8, help="optimiser steps whose rows are sorted by length together", least=1)
    early_stopping_patience: int = option(0, help="stop after so many evaluations without a better step AUC; 0 never",
                                          least=0, aliases=("patience",))
