"""Rows encoded once for training, with a report of what was read and what was left out.

    dataset, report = encode_dataset(read_rows("rows.parquet"), tokenizer, tokens, max_length=512)
    print(report)
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerBase

from erprm.errors import InputError
from erprm.prm.rows.tokens import EncodedRow, StepTokens, encode_row, encode_rows, written_note
from erprm.prm.training.dataset import EncodedDataset, Ints
from erprm.prm.training.options import TOO_LONG
from erprm.rows import StepRow
from erprm.values.spec import TargetSpec

_READ_AHEAD = 2048  # rows tokenised together


@dataclass
class DataReport:
    """What became of the rows of a data set."""

    read: int = 0
    kept: int = 0
    cut: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    labelled: int = 0
    histogram: tuple[int, ...] = ()
    tokens: int = 0
    longest: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in self.dropped.most_common()) or "none"
        total = max(sum(self.histogram), 1)
        bars = " ".join(f"{100 * count / total:.0f}%" for count in self.histogram)
        lines = [f"rows: {self.read:,} read, {self.kept:,} kept, {self.cut:,} cut at a step, "
                 f"{sum(self.dropped.values()):,} dropped ({dropped})",
                 f"steps: {self.steps:,}, of which {self.labelled:,} have a target; by tenths of the target: {bars}",
                 f"tokens: {self.tokens:,}, longest row {self.longest:,}"]
        return "\n".join(lines + self.notes)


def encode_dataset(rows: Iterable[StepRow], tokenizer: PreTrainedTokenizerBase, tokens: StepTokens, *,
                   max_length: int = 512, too_long: str = "cut", target: TargetSpec | None = None,
                   strict: bool = False, vocabulary: int | None = None) -> tuple[EncodedDataset, DataReport]:
    """Tokenise every row once.

    Args:
        max_length: most tokens of a row. A longer row is cut behind the last tag that fits ("cut") or dropped ("drop").
        target: rows without a target of this kind are dropped, and the report's histogram is of these targets.
        strict: a row that would be dropped is an error instead, unless its weight is 0.
        vocabulary: of the model.

    Raises:
        InputError: for a bad argument, a row with a token outside the vocabulary, when no row is left, or with
            `strict`, naming the row and the reason.
    """
    if too_long not in TOO_LONG:
        raise InputError(f"too_long: expected one of {', '.join(TOO_LONG)}, found {too_long!r}")
    target = target or TargetSpec()
    builder = _Builder(target)
    report = builder.report
    written = unknown = 0
    begin = 0 if tokens.bos_id is None else 1  # in some vocabularies one token means both
    for row, encoded, problem in _encoded(rows, tokenizer, tokens):
        report.read += 1
        if row.weight == 0.0:
            report.dropped["of weight 0"] += 1
            continue
        reason = problem or _missing(row, target)
        kept = 0
        if reason is None and encoded is not None:
            kept = int(np.searchsorted(encoded.tag_positions, max_length))
            if kept == 0 or (kept < len(row.steps) and too_long == "drop"):
                reason = f"longer than {max_length} tokens"
        if reason is not None or encoded is None:
            if strict:
                raise InputError(f"row {report.read}: {reason}")
            report.dropped[reason or "not encoded"] += 1
            continue
        if vocabulary is not None and (largest := int(encoded.ids.max())) >= vocabulary:
            raise InputError(f"row {report.read}: holds token {largest}, {tokenizer.convert_ids_to_tokens(largest)!r}, "
                             f"outside the model's vocabulary of {vocabulary}; resize the model's embeddings")
        written += encoded.written > 0
        unknown += tokenizer.unk_token_id is not None and bool((encoded.ids[begin:] == tokenizer.unk_token_id).any())
        builder.add(row, encoded, kept)
    if written:
        report.notes.append(written_note(written))
    if unknown:
        report.notes.append(f"{unknown:,} rows hold text that the tokenizer does not know and loses; erprm doctor "
                            "names the characters")
    return builder.finish(), report


def _encoded(rows: Iterable[StepRow], tokenizer: PreTrainedTokenizerBase, tokens: StepTokens,
             ) -> Iterator[tuple[StepRow, EncodedRow | None, str | None]]:
    """Rows with their ids, or with the reason why they have none."""
    stream = iter(rows)
    while batch := list(itertools.islice(stream, _READ_AHEAD)):
        try:
            yield from ((row, encoded, None) for row, encoded in zip(
                batch, encode_rows(tokenizer, tokens, [(row.prompt, row.steps) for row in batch]), strict=True))
        except InputError:  # one of them can't be encoded: find out which
            yield from (_encode_one(row, tokenizer, tokens) for row in batch)


def _encode_one(row: StepRow, tokenizer: PreTrainedTokenizerBase, tokens: StepTokens,
                ) -> tuple[StepRow, EncodedRow | None, str | None]:
    try:
        return row, encode_row(tokenizer, tokens, row.prompt, row.steps), None
    except InputError:
        return row, None, "whose text merges with the step tag"


def _missing(row: StepRow, target: TargetSpec) -> str | None:
    """Why nothing is learnt from `row`: it has no text, or no target of this kind; None when it has both."""
    if not any(step.strip() for step in row.steps):
        return "without any text in their steps"
    if target.kind == "labels":
        return None if row.labels is not None and any(label is not None for label in row.labels) else "without labels"
    if target.kind == "outcome":
        return None if row.outcome is not None else "without an outcome"
    ended = row.finished and row.outcome is not None
    known = ended or any(row.trials or ()) or any(row.rewards or ())
    return None if row.has_completions and known else "without counts"


class _Builder:
    """Collects rows; lists of small arrays until `finish` joins them."""

    def __init__(self, target: TargetSpec) -> None:
        self.target, self.report = target, DataReport()
        self.ids: list[Ints] = []
        self.tags: list[Ints] = []
        self.counts: list[tuple[Sequence[int], Sequence[int]]] = []
        self.labels: list[Sequence[float | None]] = []
        self.outcomes: list[float] = []
        self.ends: list[bool] = []
        self.problems: list[int] = []
        self.rewards: list[Sequence[float]] = []  # of each step
        self.weights: list[float] = []
        self._problem_index: dict[str, int] = {}

    def add(self, row: StepRow, encoded: EncodedRow, kept: int) -> None:
        """The first `kept` steps of a row."""
        whole = kept == len(row.steps)
        self.report.kept += 1
        self.report.cut += not whole
        self.ids.append(encoded.ids[: encoded.tag_positions[kept - 1] + 1])
        self.tags.append(encoded.tag_positions[:kept])
        none = (0,) * kept
        self.counts.append((row.successes[:kept] if row.successes else none, row.trials[:kept] if row.trials else none))
        self.labels.append(row.labels[:kept] if row.labels else (None,) * kept)
        self.outcomes.append(np.nan if row.outcome is None else row.outcome)
        self.ends.append(whole and row.finished and row.outcome is not None)
        self.problems.append(self._problem_index.setdefault(row.problem_key, len(self._problem_index)))
        self.weights.append(row.times)
        self.rewards.extend(row.rewards[:kept] if row.rewards else ((),) * kept)

    def finish(self) -> EncodedDataset:
        """The joined arrays. Raises InputError when no row was kept."""
        report = self.report
        if not self.ids:
            dropped = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items()) or "none were read"
            raise InputError(f"data: expected at least one row to train on, found none ({dropped})")
        dataset = EncodedDataset(
            ids=np.concatenate(self.ids), row_offsets=_offsets([len(row) for row in self.ids]),
            tags=np.concatenate(self.tags), step_offsets=_offsets([len(row) for row in self.tags]),
            successes=np.concatenate([np.asarray(k, np.int32) for k, _ in self.counts]),
            trials=np.concatenate([np.asarray(n, np.int32) for _, n in self.counts]),
            labels=np.array([np.nan if label is None else label for row in self.labels for label in row], np.float64),
            outcomes=np.array(self.outcomes, np.float64), ends=np.array(self.ends, np.bool_),
            problems=np.array(self.problems, np.int64),
            rewards=np.array(list(itertools.chain.from_iterable(self.rewards)), np.float64),
            reward_offsets=_offsets([len(rewards) for rewards in self.rewards]),
            weights=np.array(self.weights, np.float64))
        if (dataset.weights != 1.0).any():
            report.notes.append(f"weights of rows: {dataset.weights.min():g} to {dataset.weights.max():g}, "
                                f"{dataset.weights.sum():g} in all")
        target = dataset.fitted(self.target)
        if target.prior is not self.target.prior:
            report.notes.append(f"prior of success rates, fitted to the unfinished steps: {target.prior}")
        values = dataset.target_values(target)
        known = values if values.ndim == 1 else values.mean(axis=1)
        known = known[~np.isnan(known)]
        report.steps, report.labelled, report.tokens = len(dataset.tags), len(known), len(dataset.ids)
        report.longest = int(dataset.lengths.max())
        report.histogram = tuple(int(count) for count in np.histogram(known, bins=10, range=(0.0, 1.0))[0])
        return dataset


def _offsets(lengths: Sequence[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
