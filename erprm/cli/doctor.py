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
from erprm.prm.training.options import AUTO, RowOptions, TargetOptions
from erprm.terminal import printable


@dataclass
class Config(RowOptions, TargetOptions):
    """Options of `erprm doctor`; those that `erprm train` has too mean the same."""

    model: str = option(help="the model to train, or its tokenizer: a folder or hub name")
    data: str = option(help="training rows: .jsonl or .parquet")
    eval: str | None = option(None, help="held-out rows: .jsonl or .parquet")
    samples: int = option(2, help="rows to show", least=0)


def run(config: Config) -> int:
    """Print the diagnosis; 2 when training would be corrupted."""
    from erprm.prm.doctor.checks import diagnose, has_counts

    if not Path(config.data).is_file():
        raise InputError(f"{config.data}: no such file")
    target = config.target_spec(config.target == AUTO and has_counts(config.data))
    diagnosis = diagnose(config.model, config.data, config.eval, tags=config.tags(), max_length=config.max_length,
                         target=target, samples=config.samples)
    print("\n".join(map(printable, str(diagnosis).split("\n"))))  # tokens and texts of others among them
    return 0 if diagnosis.healthy else 2
