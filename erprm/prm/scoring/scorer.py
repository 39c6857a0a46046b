"""`PRMScorer`: solutions in, step scores out.

    scorer = PRMScorer("runs/prm")
    scores = scorer.score([("2+3*4?", ["3*4=12", "2+12=14"])])        # [array([0.81, 0.93], dtype=float32)]
    scores = scorer.score(read_rows("solutions.parquet"))             # or StepRows
    print(scorer.report)

Every checkpoint of `erprm.prm.checkpoints.forms` is read. A step's score is the softmax of its two label rows at its
tag, from the hidden state there: no vocabulary logits are ever computed. Rows are bucketed by length, or follow paths
through shared prefixes where that costs less (`erprm.prm.scoring.batches`); the last transformer block runs only at the
tags where its form allows it.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from erprm.devices import find_device
from erprm.errors import InputError
from erprm.prm.attention import spans, tags_only
from erprm.prm.attention.kv_cache import KeyValueCache
from erprm.prm.attention.paths import PATHS, PathGroup, PathTensors, to_device, whole_rows_only
from erprm.prm.checkpoints.forms import HIGH, LOW, SCORES, Checkpoint, LinearHead, load_base, open_checkpoint
from erprm.prm.logits import LogitRule, logit_rule
from erprm.prm.rows.tokens import EncodedRow, written_note
from erprm.prm.scoring.batches import Plan, ScoreBatch, plan_batches
from erprm.prm.scoring.cost import forward_cost
from erprm.prm.scoring.engines import check_options
from erprm.prm.spec import PRMSpec
from erprm.rows import StepRow
from erprm.values import beta_interval

Scores = npt.NDArray[np.float32]
Row = StepRow | tuple[str, Sequence[str]]

WINDOW_ROWS = 16384  # rows that are planned together when a stream is scored
_BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}
_VLLM_ROWS = 1024  # rows handed to vLLM at a time


@dataclass
class ScoreReport:
    """What has been scored: rows, steps, the tokens of the rows, the tokens that were computed, rows that were cut, and
    rows whose own text holds the step tag."""

    rows: int = 0
    steps: int = 0
    tokens: int = 0
    computed: int = 0
    cut: int = 0
    written: int = 0

    def __str__(self) -> str:
        share = f", {self.tokens:,} tokens, of which {self.computed:,} were computed" if self.tokens else ""
        cut = f"; {self.cut:,} rows were too long and are scored up to the last step that fits" if self.cut else ""
        written = f"; {written_note(self.written)}" if self.written else ""
        return f"{self.rows:,} rows, {self.steps:,} steps{share}{cut}{written}"

    def __add__(self, other: ScoreReport) -> ScoreReport:
        return ScoreReport(*map(operator.add, dataclasses.astuple(self), dataclasses.astuple(other)))


class Scorer(Protocol):
    """`PRMScorer`, and what scores like it."""

    checkpoint: Checkpoint
    report: ScoreReport

    def score(self, rows: Iterable[Row], advance: Callable[[int], object] | None = None, first: int = 0,
              ) -> list[Scores]:
        """See `PRMScorer.score`."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class PRMScorer:
    """Step scores from a PRM of any form.

    Args:
        path: a folder, or a model's name on the hub.
        engine: "transformers", or "vllm" for causal language models that are read at a tag (see `erprm export`).
        form: of the checkpoint; "auto" tells it from the files.
        device: "cpu", "cuda", "cuda:1", ...; CUDA where there is one when None. Like `batch_tokens` and `share` it is
            the transformers engine's; with vLLM it has to be None.
        dtype: "auto" (as on disk), "float32", "bfloat16", "float16".
        batch_tokens: most tokens of one forward, padding included.
        max_length: most tokens of a row; what the model's positions allow when None.
        too_long: a longer row is an "error", or "cut" behind the last step that fits, and counted in the report.
        share: compute shared prefixes once (True), never (False), or where it costs less (None).
        separator: between steps, for the "trl" form.
        spec: tags of a causal language model that has no erprm.json.
        eta, every: which of a model's several scores are read; see `open_checkpoint`.
        vllm_options: for `vllm.LLM`, with the engine "vllm".

    Raises:
        InputError: for anything that the checkpoint or the arguments lack.
    """

    def __init__(self, path: str | Path, engine: str = "transformers", *, form: str = "auto", device: str | None = None,
                 dtype: str = "auto", batch_tokens: int | None = None, max_length: int | None = None,
                 too_long: str = "error", share: bool | None = None, separator: str = "\n",
                 spec: PRMSpec | None = None, vllm_options: Mapping[str, Any] | None = None,
                 eta: float | Sequence[float] | None = None, every: bool = False) -> None:
        check_options(engine, device=device, batch_tokens=batch_tokens, share=share, too_long=too_long,
                      vllm_options=vllm_options)
        self.checkpoint = open_checkpoint(path, form, separator=separator, spec=spec, eta=eta, every=every)
        limit = getattr(self.checkpoint.config, "max_position_embeddings", None)
        if max_length is not None and limit is not None and max_length > limit:
            raise InputError(f"max_length: expected at most the model's {limit} positions, found {max_length}")
        self.max_length = max_length or limit
        self.too_long = too_long
        self.report = ScoreReport()
        self.forward: Forward | VLLMForward = (
            Forward(self.checkpoint, load_base(self.checkpoint, dtype), device, batch_tokens, share)
            if engine == "transformers" else VLLMForward(self.checkpoint, {"dtype": dtype, **(vllm_options or {})}))
        if isinstance(self.forward, VLLMForward):
            self.max_length = min(self.max_length or self.forward.longest, self.forward.longest)

    def score(self, rows: Iterable[Row], advance: Callable[[int], object] | None = None, first: int = 0,
              ) -> list[Scores]:
        """Step scores of every row, in the order given: arrays [L] float32, P(+) at each step.

        Where `checkpoint.columns` are several, arrays [L, C] of them.

        Args:
            rows: `StepRow`s or pairs (prompt, steps).
            advance: called with the number of rows finished, as it goes.
            first: how many rows of the caller's came before these; messages count from there.

        Returns:
            One array per row; shorter than its steps only where the row was cut (`too_long="cut"`).

        Raises:
            InputError: naming the row, when it is too long, has no step, or scores as NaN.
        """
        return list(self.stream(rows, advance, first=first))

    def stream(self, rows: Iterable[Row], advance: Callable[[int], object] | None = None,
               window: int = WINDOW_ROWS, first: int = 0) -> Iterator[Scores]:
        """The same for any number of rows in constant memory: `window` rows are read and scored at a time."""
        source = iter(rows)
        done = first
        while batch := list(islice(source, window)):
            yield from self._score_window(batch, done, advance)
            done += len(batch)

    def written(self, rows: Iterable[Row], first: int = 0) -> list[int]:
        """How many step tags stand in each row's own text, where they end no step. Raises InputError as `score`."""
        return [row.written for row in self.encode(list(rows), first)]

    def close(self) -> None:
        """Give the model's memory back, where an engine holds it outside of this object."""
        if isinstance(self.forward, VLLMForward):
            self.forward.close()

    def _score_window(self, rows: list[Row], first: int, advance: Callable[[int], object] | None) -> list[Scores]:
        encoded = self.encode(rows, first)
        counts = [len(row.tag_positions) for row in encoded]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        flat, computed = self.forward(encoded, advance)
        for number in np.unique(np.searchsorted(offsets, _not_finite(flat), side="right") - 1):
            alone, _ = self.forward([encoded[number]], None)  # rows computed together spoil each other: which was it
            bad = _not_finite(alone)
            if len(bad):
                raise InputError(f"{_name(rows[number], first + int(number))}: step {bad[0] + 1}: expected a score in "
                                 f"[0, 1], found {alone[bad[0]]}; the model's weights or its dtype overflow")
            flat[offsets[number]: offsets[number + 1]] = alone
        self.report += ScoreReport(len(rows), len(flat), sum(len(row.ids) for row in encoded), computed,
                                   written=sum(row.written > 0 for row in encoded))
        flat = self.in_columns(flat)
        return [flat[begin:end] for begin, end in pairwise(offsets)]

    def in_columns(self, said: Scores) -> Scores:
        """What the head says of M steps, [M] or [M, C], as `checkpoint.columns` name it."""
        if self.checkpoint.columns != (SCORES, LOW, HIGH):
            return said
        return np.column_stack([said[:, 0], *beta_interval(said[:, 0], said[:, 1])]).astype(np.float32)

    def encode(self, rows: list[Row], first: int = 0) -> list[EncodedRow]:
        """Token ids of rows, cut where that was asked for. Raises InputError as `score`, naming the row."""
        texts = [(row.prompt, row.steps) if isinstance(row, StepRow) else row for row in rows]
        convention = self.checkpoint.convention
        for number, (_, steps) in enumerate(texts):
            if not steps:
                raise InputError(f"{_name(rows[number], first + number)}: expected at least one step, found none")
        try:
            encoded = convention.encode(texts)
        except InputError:
            for number, text in enumerate(texts):  # which one it was
                try:
                    convention.encode([text])
                except InputError as error:
                    raise InputError(f"{_name(rows[number], first + number)}: {error}") from error
            raise
        return [self._fit(row, rows[number], first + number) for number, row in enumerate(encoded)]

    def _fit(self, row: EncodedRow, source: Row, number: int) -> EncodedRow:
        if self.max_length is None or len(row.ids) <= self.max_length:
            return row
        kept = row.tag_positions[row.tag_positions < self.max_length]
        if self.too_long == "error" or not len(kept):
            raise InputError(f"{_name(source, number)}: expected at most {self.max_length} tokens, found {len(row.ids)}"
                             + ("" if len(kept) else "; not even its first step fits"))
        self.report.cut += 1
        return replace(row, ids=row.ids[: kept[-1] + 1], tag_positions=kept)


class Forward:
    """Encoded rows to scores with transformers: plans the batches and runs them."""

    def __init__(self, checkpoint: Checkpoint, base: PreTrainedModel, device: str | None, batch_tokens: int | None,
                 share: bool | None) -> None:
        self.device = find_device(device)
        self.base, self.head = base.to(self.device), checkpoint.head.to(self.device)
        self.batch_tokens = batch_tokens or _BATCH_TOKENS.get(self.device.type, 8192)
        self.at_tags = tags_only.install(self.base)
        self.whole_rows = whole_rows_only(self.base)
        if share and self.whole_rows is not None:
            raise InputError(f"share: expected a model whose rows can share tokens, found that {self.whole_rows}")
        self.share = share if self.whole_rows is None else False
        if self.whole_rows is None:
            self.base.set_attn_implementation(PATHS)
        self.window = spans.sliding_window(self.base.config)
        self.cost = forward_cost(base, self.device.type)

    @torch.inference_mode()
    def __call__(self, rows: list[EncodedRow], advance: Callable[[int], object] | None) -> tuple[Scores, int]:
        """What the head says of all steps, float32 [M] or [M, C], and how many tokens were computed."""
        plan = self.plan(rows)
        steps = sum(len(row.tag_positions) for row in rows)
        scores = np.full(steps if self.head.columns == 1 else (steps, self.head.columns), np.nan, np.float32)
        pending: list[tuple[ScoreBatch, Tensor]] = []
        for batch in plan.batches():
            pending.append((batch, self._run(batch)))
            if self.device.type == "cpu" or len(pending) > 1:  # on a GPU the next batch is built while one runs
                _collect(scores, *pending.pop(0))
            if advance is not None:
                advance(batch.rows)
        for batch, values in pending:
            _collect(scores, batch, values)
        return scores, plan.tokens

    def plan(self, rows: list[EncodedRow]) -> Plan:
        """The cheapest batches for these rows."""
        return plan_batches(rows, self.cost, batch_tokens=self.batch_tokens, share=self.share)

    def _run(self, batch: ScoreBatch) -> Tensor:
        """Scores at the batch's tags, [U] float32 on the device."""
        ids, positions, tags = (to_device(array, self.device)
                                for array in (batch.ids, batch.positions, batch.tags))
        if batch.groups is None or batch.tag_groups is None:
            return self.scores(ids, positions, tags)
        return self.scores(ids, positions, tags, self.along(batch.groups), self.along(batch.tag_groups))

    def along(self, groups: Sequence[PathGroup], cache: KeyValueCache | None = None) -> PathTensors:
        """Groups of paths as this model attends along them."""
        return PathTensors.of(groups, self.device, self.base.dtype, cache, self.window)

    def scores(self, ids: Tensor, positions: Tensor, tags: Tensor, paths: PathTensors | None = None,
               tag_paths: PathTensors | None = None) -> Tensor:
        """Scores [U] float32 at `tags` [U], flat positions in [B T], of ids [B, T] at `positions` [B, T].

        Args:
            paths, tag_paths: attention of the tokens, and of the tags alone; None for plain causal rows.
        """
        extra: dict[str, Any] = {"tag_positions": tags} if self.at_tags else {}
        if paths is not None:
            extra["paths"] = replace(paths, at_tags=tag_paths)
        hidden = self.base(input_ids=ids, position_ids=positions, attention_mask=None, use_cache=False,
                           **extra).last_hidden_state.flatten(0, 1)
        scores: Tensor = self.head(hidden if self.at_tags else hidden.index_select(0, tags))
        return scores


class VLLMForward:
    """Encoded rows to scores with vLLM."""

    def __init__(self, checkpoint: Checkpoint, options: dict[str, Any]) -> None:
        if checkpoint.causal_ids is None:
            raise InputError(f"engine: vllm scores causal language models that are read at a tag, found the form "
                             f"{checkpoint.form} at {checkpoint.folder}; write that form with: "
                             f"erprm export --to causal-lm")
        head = checkpoint.head
        if logit_rule(checkpoint.config) != LogitRule() or not isinstance(head, LinearHead) or head.offset:
            raise InputError(f"engine: vllm reads the rows of the output head alone, but {checkpoint.folder} caps or "
                             "scales its logits, or adds lm_head.bias to them: score it with transformers")
        from erprm.prm.scoring.vllm import VLLMScorer

        tag, *pair = checkpoint.causal_ids
        plus, minus = checkpoint.tokenizer.convert_ids_to_tokens(pair)
        self._engine = VLLMScorer(str(checkpoint.folder), tag_id=tag, labels=(plus, minus), **options)
        self.longest = self._engine.longest

    def __call__(self, rows: list[EncodedRow], advance: Callable[[int], object] | None) -> tuple[Scores, int]:
        """Scores of all steps, flat, float32, and how many tokens were computed."""
        parts: list[Scores] = []
        for start in range(0, len(rows), _VLLM_ROWS):
            batch = rows[start: start + _VLLM_ROWS]
            parts += self._engine.score([row.ids for row in batch])
            if advance is not None:
                advance(len(batch))
        return np.concatenate(parts), sum(len(row.ids) for row in rows)

    def close(self) -> None:
        """See `VLLMScorer.close`."""
        self._engine.close()


def _collect(scores: Scores, batch: ScoreBatch, values: Tensor) -> None:
    scores[batch.steps] = values.cpu().numpy()[batch.tag_of_step]


def _not_finite(values: Scores) -> npt.NDArray[np.int64]:
    """The steps, of values [M] or [M, C], with one that is not finite."""
    return np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))


def _name(row: Row, index: int) -> str:
    if isinstance(row, StepRow) and row.solution_id:
        return f"row {index + 1} ({row.solution_id})"
    return f"row {index + 1}"
