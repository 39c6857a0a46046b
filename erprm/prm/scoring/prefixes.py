"""Scores of growing solutions: of a prefix that was scored before, only the new steps are computed.

    scorer = PrefixScorer(PRMScorer("runs/prm"), memory_gib=4)
    scorer.score([("2+3*4?", ["3*4=12"])])
    scorer.score([("2+3*4?", ["3*4=12", "2+12=14"])])          # the tokens of the second step alone
    print(scorer.report)                                       # tokens of the rows, and those that were computed

What a search asks. Keys and values of the rows' tokens stay in a cache (`erprm.prm.attention.kv_cache`), each distinct
token once, and their scores beside them; a row goes on from the longest prefix that it shares with any kept row. Scores
are those of `PRMScorer`, up to the rounding of another order of sums. When the memory is used up, only what the current
call builds on is kept, and rows that still do not fit are computed but not kept.

Prefixes are kept where `PRMScorer` can follow paths: with transformers, for `erprm.prm.attention.paths.FAMILIES`.
Elsewhere every row is scored as a whole, and `whole_rows` says why: vLLM's own prefix cache does not serve token-wise
pooling, which needs the hidden states of all tags of a row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from erprm.errors import InputError
from erprm.prm.attention.kv_cache import Ints, KeyValueCache
from erprm.prm.attention.paths import PathGroup
from erprm.prm.checkpoints.forms import HIGH, LOW, SCORES
from erprm.prm.rows.tokens import EncodedRow
from erprm.prm.scoring.batches import KEYS, attention_groups, common_length
from erprm.prm.scoring.scorer import Forward, PRMScorer, Row, ScoreReport, Scores

_NO_TAG = -1.0  # in the place of a score


@dataclass(slots=True, eq=False)
class _Known:
    """A row under way or kept: its tokens, and where each of them is in the cache."""

    ids: Ints
    key: bytes
    path: Ints


class PrefixScorer:
    """A PRM that remembers what it has scored.

    Args:
        scorer: its model and form; its report counts these rows as well.
        memory_gib: for keys and values, in GiB; 0 keeps nothing.

    Attributes:
        whole_rows: why prefixes are not kept; None where they are.
    """

    def __init__(self, scorer: PRMScorer, memory_gib: float = 4.0) -> None:
        if not memory_gib >= 0:
            raise InputError(f"memory_gib: expected a number of at least 0, found {memory_gib}")
        self.scorer = scorer
        self._forward: Forward | None = None
        self.whole_rows: str | None = None if memory_gib else "no memory was given to keep them"
        if not isinstance(scorer.forward, Forward):
            self.whole_rows = "vLLM does not keep them for pooling"
        elif scorer.forward.whole_rows is not None:
            self.whole_rows = scorer.forward.whole_rows
        elif memory_gib:
            self._forward = scorer.forward
        self._cache = KeyValueCache()
        self._columns = 1 if self._forward is None else self._forward.head.columns
        self._scores = np.empty((0, self._columns), np.float32)  # of each token in the cache; NaN: not computed yet
        self._kept: dict[bytes, _Known] = {}  # by key
        self._keys: list[bytes] = []  # the same, sorted
        self._limit = 0
        if self._forward is not None:
            config = self._forward.base.config
            size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
            heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
            token = 2 * config.num_hidden_layers * heads * size * self._forward.base.dtype.itemsize
            self._limit = int(memory_gib * 2**30 / token)

    @property
    def note(self) -> str:
        """"; prefixes are scored anew: ...", or nothing where they are kept."""
        return "" if self.whole_rows is None else f"; prefixes are scored anew: {self.whole_rows}"

    @property
    def report(self) -> ScoreReport:
        """What has been scored, and how many tokens that took."""
        return self.scorer.report

    def score(self, rows: Iterable[Row], advance: Callable[[int], object] | None = None) -> list[Scores]:
        """Step scores of every row, in the order given, as `PRMScorer.score`. Raises InputError as that does."""
        given = list(rows)
        if self._forward is None:
            return self.scorer.score(given, advance)
        found = self.score_ids(self.scorer.encode(given), advance)
        for number, scores in enumerate(found):
            if not np.all(np.isfinite(scores)):
                [found[number]] = self.scorer.score([given[number]])  # raises, unless another row spoiled this one
        return found

    def score_ids(self, rows: list[EncodedRow], advance: Callable[[int], object] | None = None) -> list[Scores]:
        """The same for rows of token ids; what the model says of any of their positions, NaN and all."""
        if self._forward is None:
            flat, computed = self.scorer.forward(rows, advance)
            found = np.split(flat, np.cumsum([len(row.tag_positions) for row in rows])[:-1])
        else:
            found, computed = self._score(rows, self._forward, advance)
        self.scorer.report += ScoreReport(len(rows), sum(map(len, found)), sum(len(row.ids) for row in rows), computed,
                                          written=sum(row.written > 0 for row in rows))
        return [self.scorer.in_columns(said) for said in found]

    def _score(self, rows: list[EncodedRow], forward: Forward, advance: Callable[[int], object] | None,
               ) -> tuple[list[Scores], int]:
        keys = [row.ids.astype(">i4").tobytes() for row in rows]
        order = sorted(range(len(rows)), key=keys.__getitem__)
        nearest = self._nearest(rows, keys)
        new = sum(len(row.ids) - near[0] for row, near in zip(rows, nearest, strict=True))
        if self._cache.used + new > self._limit:
            self._forget({id(known) for _, known in nearest})
        result: list[Scores] = [np.empty(0, np.float32)] * len(rows)
        fresh: list[_Known] = []
        computed = done = 0
        before: _Known | None = None  # the last row, while its tokens are in the cache or in the batch
        while done < len(order):
            batch: list[tuple[_Known, int]] = []
            size = 0
            for number in order[done:]:
                row, (start, known) = rows[number], nearest[number]
                if before is not None and (shared := self._usable(before, row)) > start:
                    start, known = shared, before
                new = len(row.ids) - start
                if batch and size + new > forward.batch_tokens:
                    break
                place = self._cache.used + size
                before = self._begin(row, keys[number], np.empty(0, np.int64) if known is None else known.path[:start],
                                     place)
                batch.append((before, start))
                size += new
            self._run(batch, size, forward)
            members = order[done: done + len(batch)]
            for number, (one, _) in zip(members, batch, strict=True):
                said = self._scores[one.path[rows[number].tag_positions]]
                result[number] = said[:, 0] if self._columns == 1 else said
            sound = all(np.all(np.isfinite(result[number])) for number in members)  # NaN would spread from the cache
            if sound and self._cache.used + size <= self._limit:
                self._cache.keep(size)
                fresh += [one for one, _ in batch]
            else:
                before = None
            computed, done = computed + size, done + len(batch)
            if advance is not None:
                advance(len(batch))
        self._keys += [key for key in {one.key: None for one in fresh} if key not in self._kept]
        self._keys.sort()  # two sorted runs, which it merges
        self._kept |= {one.key: one for one in fresh}
        return result, computed

    def _nearest(self, rows: list[EncodedRow], keys: list[bytes]) -> list[tuple[int, _Known | None]]:
        """For each row how many leading tokens it can take over from a kept row, and from which."""
        found: list[tuple[int, _Known | None]] = []
        for row, key in zip(rows, keys, strict=True):
            place = bisect_left(self._keys, key)  # the longest prefix is shared with a neighbour
            near: tuple[int, _Known | None] = (0, None)
            for known in map(self._kept.__getitem__, self._keys[max(place - 1, 0): place + 1]):
                near = max(near, (self._usable(known, row), known), key=lambda pair: pair[0])
            found.append(near)
        return found

    def _usable(self, known: _Known, row: EncodedRow) -> int:
        """Leading tokens that both share, up to the first tag of the row that is none of the other's."""
        shared = common_length(known.ids, row.ids)
        tags = row.tag_positions[row.tag_positions < shared]
        other = tags[self._scores[known.path[tags], 0] == _NO_TAG]
        return int(other[0]) if len(other) else shared

    def _begin(self, row: EncodedRow, key: bytes, path: Ints, place: int) -> _Known:
        """A row that goes on from `path`, its own tokens from `place` on."""
        new = len(row.ids) - len(path)
        if len(self._scores) < place + new:
            more = max(place + new, 2 * len(self._scores)) - len(self._scores)
            self._scores = np.concatenate([self._scores, np.full((more, self._columns), _NO_TAG, np.float32)])
        self._scores[place: place + new] = _NO_TAG
        self._scores[place + row.tag_positions[row.tag_positions >= len(path)] - len(path)] = np.nan
        return _Known(row.ids, key, np.concatenate([path, np.arange(place, place + new)]))

    def _forget(self, needed: set[int]) -> None:
        """Keep only the rows with these identities."""
        self._kept = {key: known for key, known in self._kept.items() if id(known) in needed}
        self._keys = sorted(self._kept)
        tokens = np.unique(np.concatenate([np.empty(0, np.int64), *(known.path for known in self._kept.values())]))
        for known in self._kept.values():
            known.path = np.searchsorted(tokens, known.path)
        self._scores = self._scores[tokens]
        self._cache.compact(tokens)

    @torch.inference_mode()
    def _run(self, batch: list[tuple[_Known, int]], size: int, forward: Forward) -> None:
        """Compute the tokens behind each row's start, and the scores at the tags among them."""
        new = [(known, start) for known, start in batch if start < len(known.ids)]
        if not new:
            return
        device, first = forward.device, self._cache.used
        own = np.array([len(known.ids) - start for known, start in new], np.int64)
        lengths = np.array([len(known.ids) for known, _ in new], np.int64)
        tags = [np.flatnonzero(np.isnan(self._scores[known.path[start:], 0])) + start for known, start in new]
        counts = np.array([len(part) for part in tags], np.int64)
        places = np.concatenate([known.path[part] for (known, _), part in zip(new, tags, strict=True)])
        numbers = np.split(np.arange(len(places)), np.cumsum(counts)[:-1])
        most = KEYS * max(size, int(lengths.max()))
        groups = [PathGroup.of([new[one][0].path[new[one][1]:] - first for one in members],
                               [new[one][0].path for one in members],
                               [np.arange(new[one][1], lengths[one]) + 1 for one in members])
                  for members in attention_groups(own, lengths, forward.cost, most)[0]]
        tag_groups = [PathGroup.of([numbers[one] for one in members], [new[one][0].path for one in members],
                                   [tags[one] + 1 for one in members])
                      for members in attention_groups(counts, lengths, forward.cost, most)[0]]
        ids = np.concatenate([known.ids[start:] for known, start in new])
        positions = np.concatenate([np.arange(start, len(known.ids)) for known, start in new])
        on_device = [torch.from_numpy(array).to(device) for array in (ids[None], positions[None], places - first)]
        self._scores[places] = forward.scores(
            on_device[0], on_device[1], on_device[2], forward.along(groups, self._cache),
            forward.along(tag_groups, self._cache)).reshape(-1, self._columns).cpu().numpy()


def search_scorer(path: str | Path, *, device: str | None = None, eta: float | None = None, memory_gib: float = 4.0,
                  ) -> PrefixScorer:
    """The model at `path` for a search: one score per step, with its interval where the model gives one.

    Args:
        eta: which of the etas that it learnt; needed where there are several.

    Raises:
        InputError: as `PRMScorer`, or for several etas and none named.
    """
    scorer = PRMScorer(path, device=device, eta=eta, every=True)
    columns = scorer.checkpoint.columns
    if columns not in ((SCORES,), (SCORES, LOW, HIGH)):
        raise InputError(f"prm_eta: expected one eta of {path}, which gives {', '.join(columns)}, found none")
    return PrefixScorer(scorer, memory_gib)
