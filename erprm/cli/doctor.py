"""Check tokens, tags and rows before training.

    erprm doctor --model meta-llama/Llama-3.2-1B --data train.parquet --eval heldout.parquet --max-length 512

It shows sample rows token by token as they will be trained, with the target at each tag, and looks through the whole
file: are the tag and both labels one token each behind a step; has every step one tag; which rows would be cut or
dropped; which are repeated, or contradict each other; which held-out problems are trained on. Every finding comes with
what to do. The exit code is 2 when something would corrupt training, 0 otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from erprm.cli.config import option
from erprm.errors import InputError
from erprm.values import ESTIMATORS


@dataclass(frozen=True)
class Config:
    """Options of `erprm doctor`; those that `erprm train` has too mean the same."""

    model: str = option(help="the model to train, or its tokenizer: a folder or hub name")
    data: str = option(help="training rows: .jsonl or .parquet")
    eval: str | None = option(None, help="held-out rows: .jsonl or .parquet")
    target: str = option("auto", help="target; auto is er for rows with counts, else labels",
                         choices=("auto", "er", "soft", "hard", "outcome", "labels"))
    eta: float = option(2.0, help="inverse temperature of the er target; any finite number")
    estimator: str = option("plug-in", help="estimator of the er target",
                            choices=ESTIMATORS)
    threshold: float = option(0.0, help="the hard target is 1 where k/n is above")
    max_length: int = option(512, help="most tokens of a row")
    tag: str = option(" ки", help="token behind each step")
    plus: str = option(" +", help="token of a good step")
    minus: str = option(" -", help="token of a bad step")
    samples: int = option(2, help="rows to show")


def run(config: Config) -> int:
    """Print the diagnosis; 2 when training would be corrupted."""
    from erprm.prm.doctor.checks import diagnose, usual_target
    from erprm.steps import StepTags
    from erprm.values.spec import TargetSpec

    if not Path(config.data).is_file():
        raise InputError(f"{config.data}: no such file")
    target = usual_target(config.data, config.eta, config.estimator) if config.target == "auto" else \
        TargetSpec(config.target, config.eta, config.estimator, config.threshold)
    diagnosis = diagnose(config.model, config.data, config.eval, tags=StepTags(config.tag, config.plus, config.minus),
                         max_length=config.max_length, target=target, samples=config.samples)
    print(diagnosis)
    return 0 if diagnosis.healthy else 2
