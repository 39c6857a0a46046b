"""A cell of the study: one reward model's training on one set of labels, and the file that holds what came of it.

    cell = Cell("countdown", 0, "er@2:empirical-bayes", 1)
    cell.name                                           # countdown/policy-0/er@2:empirical-bayes/prm-1
    cells = read_cells(Path("bench/results/study"))
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from erprm.errors import InputError
from erprm.files.json_files import read_record, write_record
from erprm.study.label_sets import check_label_set
from erprm.values import ESTIMATORS, KINDS, Array

_REMEDY = "remove the file: the study does that cell again"


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a reward model learns, as a text: KIND, KIND@ETA or KIND@ETA:ESTIMATOR, and +LABELS behind each of them.

    Attributes:
        kind: one of `erprm.values.KINDS`.
        eta: of "er" and "td"; None ("er" alone): every eta of the study in one training.
        estimator: of the same kinds.
        labels: one of `erprm.study.label_sets.LABEL_SETS`.
    """

    kind: str
    eta: float | None = None
    estimator: str = "plug-in"
    labels: str = "all"

    @classmethod
    def of(cls, text: str) -> Learnt:
        """Raises InputError for a kind, an eta, an estimator or a label set that there isn't."""
        target, plus, labels = text.partition("+")
        check_label_set(labels if plus else "all")
        kind, _, rest = target.partition("@")
        eta, _, estimator = rest.partition(":")
        estimator = estimator or "plug-in"
        if kind not in KINDS or estimator not in ESTIMATORS:
            raise InputError(f"targets: expected KIND, KIND@ETA or KIND@ETA:ESTIMATOR with a kind among "
                             f"{', '.join(KINDS)} and an estimator among {', '.join(ESTIMATORS)}, found {text!r}")
        reads = KINDS[kind].reads
        if target.endswith("@") or (eta and "eta" not in reads) or (":" in rest and "estimator" not in reads):
            raise InputError(f"targets: expected KIND alone, or what {kind} reads, found {text!r}")
        try:
            found = cls(kind, float(eta) if eta else None, estimator, labels or "all")
        except ValueError:
            raise InputError(f"targets: expected a number for eta, found {text!r}") from None
        if found.eta is not None and not math.isfinite(found.eta):
            raise InputError(f"targets: expected a finite number for eta, found {text!r}")
        return found

    def rewards(self, text: str, etas: tuple[float, ...]) -> list[str]:
        """The names of what one training on the target `text` gives: its own, or one for each eta."""
        return [text] + [f"{text}/{eta:g}" for eta in etas if self.eta is None and "eta" in KINDS[self.kind].reads]

    def options(self, etas: tuple[float, ...]) -> dict[str, Any]:
        """As `erprm train` takes them."""
        options: dict[str, Any] = {"target": self.kind}
        if "eta" in KINDS[self.kind].reads:
            options["eta"] = self.eta if self.eta is not None else etas
        if "estimator" in KINDS[self.kind].reads:
            options["estimator"] = self.estimator
        return options


@dataclass(frozen=True, slots=True)
class Cell:
    """Where a result stands in the table."""

    task: str
    policy_seed: int
    target: str
    prm_seed: int

    @property
    def name(self) -> str:
        """As a path: TASK/policy-SEED/TARGET/prm-SEED."""
        return f"{self.task}/policy-{self.policy_seed}/{self.target}/prm-{self.prm_seed}"

    def path(self, folder: Path) -> Path:
        """Its file below a folder of cells."""
        return folder / f"{self.name}.json"


@dataclass(frozen=True, slots=True)
class Column:
    """One reward: a model's, or that of one eta of a model.

    Attributes:
        aggregation: of step scores, chosen on the validation pool.
        ns: sizes of best-of-N.
        accuracy: at each N, the mean over held-out problems.
        by_problem: [P] at the largest N.
        wide: [Q, len(wide_ns)], the same for the first Q of these problems with many more candidates.
        wide_ns: its sizes.
        steps: by name a figure of its step scores as success rates: "auc", "brier" and "ece" against the outcomes of
            the solutions that go on from the step, and "residual", the Bellman residual at eta = 2.
    """

    aggregation: str
    ns: tuple[int, ...]
    accuracy: tuple[float, ...]
    by_problem: Array
    wide_ns: tuple[int, ...]
    wide: Array
    steps: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Result:
    """What a cell's file says.

    Attributes:
        columns: by the reward's name: the target's, with "/ETA" where one training gave several.
        curve: (step, value of the validation score) while it trained.
        training: steps, seconds, tokens and whatever else the trainer measured at its end.
        pool: accuracy on the held-out pool without any reward: "pass@1", "majority" and "pass@n" of its N.
    """

    cell: Cell
    columns: Mapping[str, Column]
    curve: Sequence[tuple[int, float]]
    training: Mapping[str, float]
    pool: Mapping[str, float]


def write_cell(path: Path, result: Result, about: Mapping[str, Any]) -> None:
    """The cell's file, there whole or not at all; `about` are the settings and the commit."""
    record = {
        "task": result.cell.task, "policy_seed": result.cell.policy_seed, "target": result.cell.target,
        "prm_seed": result.cell.prm_seed, **about, "training": dict(result.training), "curve": list(result.curve),
        "pool": dict(result.pool),
        "columns": {name: {"aggregation": column.aggregation, "n": column.ns, "accuracy": column.accuracy,
                           "by_problem": np.round(column.by_problem, 6).tolist(), "wide_n": column.wide_ns,
                           "wide_by_problem": np.round(column.wide, 6).tolist(), "steps": dict(column.steps)}
                    for name, column in result.columns.items()}}
    write_record(path, record, indent=None)


def read_cell(path: Path) -> tuple[Result, dict[str, Any]]:
    """(what it says, its settings). Raises InputError naming the file."""
    record = read_record(path, _REMEDY)
    try:
        columns = {name: Column(column["aggregation"], tuple(column["n"]), tuple(column["accuracy"]),
                                np.array(column["by_problem"], np.float64), tuple(column["wide_n"]),
                                np.array(column["wide_by_problem"], np.float64), column["steps"])
                   for name, column in record["columns"].items()}
        cell = Cell(record["task"], record["policy_seed"], record["target"], record["prm_seed"])
        curve = [(int(step), float(value)) for step, value in record["curve"]]
        return Result(cell, columns, curve, record["training"], record["pool"]), record["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a cell of a study: {type(error).__name__}: {error}; {_REMEDY}") from error


def read_cells(folder: Path) -> list[Result]:
    """All cells below a folder, in the order of their names. Raises InputError when there is none."""
    found = [read_cell(path)[0] for path in sorted(folder.rglob("prm-*.json"))]
    if not found:
        raise InputError(f"{folder}: expected cells of a study (TASK/policy-SEED/TARGET/prm-SEED.json), found none")
    return found
