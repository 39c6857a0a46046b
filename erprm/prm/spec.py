"""`PRMSpec`: what a checkpoint must say besides its weights, kept beside them in `erprm.json`.

    {"loss": "pair", "tags": {"tag": " ки", "plus": " +", ...}, "targets": {"kind": "er", "eta": 2.0, ...}}
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.files.writing import written_beside
from erprm.steps import AUTO_TAGS, StepTags

FILE_NAME = "erprm.json"


@dataclass(frozen=True, slots=True)
class Loss:
    """A training loss; its function is in `erprm.prm.losses`.

    Attributes:
        help: one line.
        vocabulary: it reads the whole output head, which is kept; else the head is two rows of its own.
        fresh: these rows begin at random, with a bias; else as the label tokens' rows.
        counts: it is of (k, n) instead of a target.
    """

    help: str
    vocabulary: bool = False
    fresh: bool = False
    counts: bool = False


LOSSES: dict[str, Loss] = {
    "pair": Loss('softmax over " +" and " -", with whose rows the head begins'),
    "vocab": Loss("softmax over the whole vocabulary, whose head is kept", vocabulary=True),
    "head": Loss("as pair, but the rows begin at random and have a bias", fresh=True),
    "beta_binomial": Loss("likelihood of the counts; the score is the mean", counts=True),
}


@dataclass(frozen=True, slots=True)
class PRMSpec:
    """How a PRM reads its input and what it was trained for.

    Attributes:
        loss: one of `LOSSES`.
        tags: the texts around steps; never "auto" on disk.
        targets: what the model was trained towards (kind, eta, estimator); informative.
        concentration: s of Beta(mu s, (1 - mu) s) for "beta_binomial".
    """

    loss: str = "pair"
    tags: StepTags = AUTO_TAGS
    targets: dict[str, Any] = field(default_factory=dict)
    concentration: float = 8.0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"loss: expected one of {', '.join(LOSSES)}, found {self.loss!r}")
        if not self.concentration > 0:
            raise InputError(f"concentration: expected a positive number, found {self.concentration}")

    @property
    def objective(self) -> Loss:
        """What the loss is like."""
        return LOSSES[self.loss]

    def save(self, folder: str | Path) -> None:
        """Write `erprm.json` into `folder`, whole or not at all."""
        with written_beside(Path(folder) / FILE_NAME) as beside:
            beside.write_text(json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2) + "\n",
                              encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> PRMSpec:
        """Read `erprm.json` from `folder`. Raises InputError when it is missing or not understood."""
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise InputError(f"{path}: no such file; it is written beside the weights of every PRM trained with erprm")
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            spec = cls(**{**record, "tags": StepTags(**record["tags"])})
            if not all(isinstance(text, str) for text in dataclasses.astuple(spec.tags)):
                raise TypeError("tags, which aren't all texts")
            return spec
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
            raise InputError(f"{path}: expected the fields {', '.join(cls.__dataclass_fields__)}, "
                             f"found a problem with {error}") from error


def tags_for(model: str | Path, tags: StepTags) -> StepTags:
    """`tags`, "auto" as the model was trained where it is the folder of a PRM."""
    return tags.filled(PRMSpec.load(model).tags) if (Path(model) / FILE_NAME).is_file() else tags
