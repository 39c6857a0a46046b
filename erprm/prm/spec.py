"""`PRMSpec`: what a checkpoint must say besides its weights, kept beside them in `erprm.json`.

    {"loss": "pair", "tags": {"tag": " ки", "plus": " +", ...}, "targets": {"kind": "er", "eta": 2.0, ...}}
    PRMSpec.load(folder).etas                         # (2.0,); (0.5, 2.0, 10.0) where one run learnt several
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.files.writing import atomic_write
from erprm.steps import AUTO_TAGS, StepTags
from erprm.values.spec import check_etas, eta_name

LEARNT = "learnt"  # a concentration that the model predicts
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
        targets: what the model was trained towards (kind, eta, estimator). A list of etas: the head has a "+" row for
            each.
        concentration: s of Beta(mu s, (1 - mu) s) for "beta_binomial"; "learnt": a third row of the head predicts it.
    """

    loss: str = "pair"
    tags: StepTags = AUTO_TAGS
    targets: dict[str, Any] = field(default_factory=dict)
    concentration: float | str = 8.0

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"loss: expected one of {', '.join(LOSSES)}, found {self.loss!r}")
        if self.concentration == LEARNT:
            if not self.objective.counts:
                raise InputError(f"concentration: expected a number with the loss {self.loss}, found {LEARNT}; the "
                                 "beta_binomial loss learns it")
        elif isinstance(self.concentration, str) or not self.concentration > 0:
            raise InputError(f"concentration: expected a positive number or {LEARNT}, found {self.concentration!r}")
        if len(self.etas) > 1 and (self.objective.vocabulary or self.objective.counts):
            raise InputError(f"eta: expected one number with the loss {self.loss}, found {len(self.etas)}; pair and "
                             "head have a row for each")

    @property
    def etas(self) -> tuple[float, ...]:
        """The etas that the model has scores for; empty where its target has none."""
        return check_etas(self.targets["eta"]) if "eta" in self.targets else ()

    @property
    def learns_concentration(self) -> bool:
        """Whether the third row of the head says how sure the model is."""
        return self.concentration == LEARNT

    @property
    def labels(self) -> dict[int, str]:
        """The names of the head's rows, as `id2label` of the checkpoint: "-", and "+" or a "+" for each eta."""
        if len(self.etas) > 1:
            return {0: "-"} | {row: f"+ eta={eta_name(eta)}" for row, eta in enumerate(self.etas, start=1)}
        return {0: "-", 1: "+"} | ({2: "concentration"} if self.learns_concentration else {})

    @property
    def objective(self) -> Loss:
        """What the loss is like."""
        return LOSSES[self.loss]

    def save(self, folder: str | Path) -> None:
        """Write `erprm.json` into `folder`, whole or not at all."""
        with atomic_write(Path(folder) / FILE_NAME) as temporary:
            temporary.write_text(json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=2) + "\n",
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
