"""The sampling loop of the transformers engine: a batch of rows that is kept full.

A prompt is read once (`PromptQueue`), its keys and values are copied into the rows of its samples (`RowCache`), and
every step then writes one token per row. Rows that finish are taken out and their places given to waiting samples.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache

from erprm.engines.base import Sampling
from erprm.engines.draw import draw
from erprm.engines.row_cache import Prefilled, RowCache
from erprm.engines.stopping import StopStrings
from erprm.errors import InputError

_HEADROOM = 64  # columns allocated beyond those in use: how many steps may pass without moving the cache
_REFILL = 8  # waiting samples move in when 1/8 of the rows are free
_SHRINK = 4  # with nothing waiting, the batch is compacted when 1/4 of its rows are free


@dataclass(frozen=True)
class Prompt:
    """Token ids to continue, `n` times with seeds `seed`, `seed` + 1, ..., by at most `limit` tokens."""

    ids: Sequence[int]
    n: int
    seed: int
    limit: int


@dataclass(frozen=True)
class Finished:
    """Sample `sample` of prompt `prompt`: its token ids, and whether it ended by itself."""

    prompt: int
    sample: int
    ids: list[int]
    stopped: bool


@dataclass(frozen=True)
class Writing:
    """A sample under way: `request` counts what was asked for, `prompt` and `written` are token ids."""

    request: int
    prompt: Sequence[int]
    written: Sequence[int]


Guide = Callable[[Sequence[Writing], Tensor], Tensor]  # logits [A, V] of A samples to those that are drawn from


class ModelCaller:
    """Calls any stock causal language model with the arguments that its forward takes."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        taken = inspect.signature(model.forward).parameters
        self._positions = "position_ids" in taken
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}

    def __call__(self, ids: Tensor, mask: Tensor | None, positions: Tensor, cache: object) -> Tensor:
        """Logits [R, V] behind the last of the tokens `ids` [R, T]; their keys and values go into `cache`."""
        extra = {"position_ids": positions} if self._positions else {}
        output = self.model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True,
                            **extra, **self._last_only)
        logits: Tensor = output.logits[:, -1]
        return logits


class PromptQueue:
    """Waiting samples, longest prompts first; prompts are read in blocks of up to `block_tokens` tokens."""

    def __init__(self, call: ModelCaller, prompts: Sequence[Prompt], block_tokens: int, device: torch.device) -> None:
        self._call, self._prompts, self._device = call, prompts, device
        self._order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].ids), reverse=True)
        self._block_tokens = block_tokens
        self._read = 0  # how many of `_order` have been read
        self._block: Prefilled | None = None
        self._samples: list[tuple[int, int, int]] = []  # (place in the block, prompt, sample), last one next
        self.waiting = sum(prompt.n for prompt in prompts)

    def take(self, most: int) -> tuple[Prefilled, list[tuple[int, int, int]]]:
        """Up to `most` samples of one block of prompts: (place in the block, prompt, sample). Needs `waiting` > 0."""
        if not self._samples:
            self._block = self._read_block()
        assert self._block is not None
        taken = [self._samples.pop() for _ in range(min(most, len(self._samples)))]
        self.waiting -= len(taken)
        return self._block, taken

    def _read_block(self) -> Prefilled:
        longest = len(self._prompts[self._order[self._read]].ids)
        block = self._order[self._read : self._read + max(1, self._block_tokens // longest)]
        self._read += len(block)
        lengths = torch.tensor([len(self._prompts[index].ids) for index in block])
        ids = torch.zeros(len(block), longest, dtype=torch.int64)
        for row, index in enumerate(block):
            ids[row, longest - len(self._prompts[index].ids) :] = torch.as_tensor(self._prompts[index].ids)
        columns = torch.arange(longest)
        mask = columns[None] >= longest - lengths[:, None]
        positions = (columns[None] - (longest - lengths)[:, None]).clamp(min=0)
        whole = bool(lengths.min() == longest)  # no padding: the faster causal attention without a mask
        cache = DynamicCache()
        logits = self._call(ids.to(self._device), None if whole else mask.to(self._device),
                            positions.to(self._device), cache)
        self._samples = [(place, index, sample) for place, index in enumerate(block)
                         for sample in range(self._prompts[index].n)][::-1]
        return Prefilled([(layer.keys, layer.values) for layer in cache.layers], lengths.to(self._device), logits)


class RowBatch:
    """Up to `rows` samples in the making."""

    def __init__(self, call: ModelCaller, prompts: Sequence[Prompt], sampling: Sampling, is_eos: Tensor,
                 stop: StopStrings, rows: int, block_tokens: int, guide: Guide | None = None) -> None:
        self._call, self._prompts, self._sampling = call, prompts, sampling
        self._is_eos, self._stop, self._most, self._guide = is_eos, stop, rows, guide
        self._device = is_eos.device
        self._queue = PromptQueue(call, prompts, block_tokens, self._device)
        self._cache: RowCache | None = None
        self._longest = max(prompt.limit for prompt in prompts)
        self._lost = torch.zeros((), dtype=torch.int64, device=self._device)  # tokens drawn from logits that are NaN
        self._resize(0)

    def _resize(self, rows: int, keep: Tensor | None = None) -> None:
        """State for `rows` rows, of which the first are copied from the rows `keep`."""
        def moved(name: str, *shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            fresh = torch.zeros(rows, *shape, dtype=dtype, device=self._device)
            if keep is not None:
                fresh[: len(keep)] = getattr(self, name)[keep]
            return fresh

        owners = [self._owners[row] for row in keep.tolist()] if keep is not None else []
        self._alive = moved("_alive", dtype=torch.bool)
        self._stopped = moved("_stopped", dtype=torch.bool)
        self._seeds = moved("_seeds")
        self._counts = moved("_counts")  # tokens written
        self._limits = moved("_limits")
        self._positions = moved("_positions")  # the row's own tokens in the cache
        self._last = moved("_last")
        self._tokens = moved("_tokens", self._longest + 1)  # the last column takes what finished rows go on writing
        self._owners: list[tuple[int, int] | None] = owners + [None] * (rows - len(owners))
        self._every_row = torch.arange(rows, device=self._device)

    @torch.inference_mode()
    def run(self) -> Iterator[Finished]:
        """Every sample of every prompt, as they finish. Raises InputError for logits that are NaN."""
        while True:
            alive, lost = torch.stack((self._alive.sum(), self._lost)).tolist()
            if lost:
                raise InputError("policy: its logits are NaN: numbers overflow in this dtype (try --dtype float32 or "
                                 "bfloat16), or the model is broken")
            rows = len(self._owners)
            free, waiting = rows - alive, self._queue.waiting
            full = self._cache is None or self._cache.columns == self._cache.capacity
            if alive == 0 and waiting == 0:
                yield from self._harvest()
                return
            if full or alive == 0 or (not waiting and free * _SHRINK > rows):
                yield from self._harvest()
                self._repack()
                continue
            if waiting and free * _REFILL >= rows:
                yield from self._harvest()
                self._admit()
                continue
            self._step()

    def _harvest(self) -> Iterator[Finished]:
        """Hand out the finished rows and free their places."""
        done = [row for row, (alive, owner) in enumerate(zip(self._alive.tolist(), self._owners, strict=True))
                if owner is not None and not alive]
        if not done:
            return
        index = torch.tensor(done, device=self._device)
        counts, stopped = self._counts[index].tolist(), self._stopped[index].tolist()
        tokens = self._tokens[index, : max(counts)].tolist()
        for row, ids, count, ended in zip(done, tokens, counts, stopped, strict=True):
            owner = self._owners[row]
            assert owner is not None
            self._owners[row] = None
            yield Finished(owner[0], owner[1], ids[:count], ended)

    def _repack(self) -> None:
        """Move the rows that are still written to the front of a new cache, and fill the rest with waiting samples."""
        keep = self._alive.nonzero().squeeze(1)
        rows = min(self._most, len(keep) + self._queue.waiting)
        if len(keep):
            assert self._cache is not None
            lengths = self._positions[keep]
            self._cache = self._cache.repacked(keep, lengths, rows, int(lengths.max()), _HEADROOM)
        else:
            self._cache = None
        self._resize(rows, keep)
        if self._queue.waiting:
            self._admit()

    def _admit(self) -> None:
        """Give the free rows to waiting samples. Prompts come longest first, so they fit behind those at work."""
        places = [row for row, owner in enumerate(self._owners) if owner is None]
        while places and self._queue.waiting:
            block, taken = self._queue.take(len(places))
            if self._cache is None:
                self._cache = RowCache(block.layers, len(self._owners), block.columns, _HEADROOM)
            rows_used, places = places[: len(taken)], places[len(taken) :]
            rows = torch.tensor(rows_used, device=self._device)
            prompts = torch.tensor([place for place, _, _ in taken], device=self._device)
            self._cache.admit(rows, block, prompts)
            for row, (_, prompt, sample) in zip(rows_used, taken, strict=True):
                self._owners[row] = (prompt, sample)
            jobs = [(self._prompts[prompt], sample) for _, prompt, sample in taken]
            self._seeds[rows] = torch.tensor([prompt.seed + sample for prompt, sample in jobs], device=self._device)
            self._limits[rows] = torch.tensor([prompt.limit for prompt, _ in jobs], device=self._device)
            self._positions[rows] = block.lengths[prompts]
            self._counts[rows] = 0
            self._alive[rows] = True
            self._accept(rows, block.logits[prompts])

    def _step(self) -> None:
        """Feed every row's last token and accept the next one."""
        cache = self._cache
        assert cache is not None
        logits = self._call(self._last[:, None], cache.mask[:, : cache.columns + 1], self._positions[:, None], cache)
        self._positions += 1
        self._accept(self._every_row, logits)

    def _accept(self, rows: Tensor, logits: Tensor) -> None:
        """Draw the next token of `rows` [A] from `logits` [A, V], and mark the rows that it finishes."""
        counts, alive = self._counts[rows], self._alive[rows]
        if self._guide is not None:
            logits = self._guided(self._guide, rows, logits)
        token = draw(logits, self._seeds[rows], counts, self._sampling.temperature, self._sampling.top_p)
        self._lost += (alive & (token == logits.shape[1])).sum()
        token = token.clamp(max=logits.shape[1] - 1)
        self._last[rows] = token
        self._tokens[rows, torch.where(alive, counts, self._longest)] = token
        counts = counts + alive
        self._counts[rows] = counts
        ended = alive & self._is_eos[token]
        if self._stop:
            ended = ended | self._stops(rows, counts, alive & self._stop.may_end[token])
        self._stopped[rows] = torch.where(alive, ended, self._stopped[rows])
        self._alive[rows] = alive & ~ended & (counts < self._limits[rows])

    def _guided(self, guide: Guide, rows: Tensor, logits: Tensor) -> Tensor:
        """The logits [A, V] of `rows` after the guide has seen those that are still written."""
        going = self._alive[rows].nonzero().squeeze(1)
        writings = []
        for row in rows[going].tolist():
            owner = self._owners[row]
            assert owner is not None
            writings.append(Writing(owner[0], self._prompts[owner[0]].ids,
                                    self._tokens[row, : self._counts[row]].tolist()))
        return logits.index_copy(0, going, guide(writings, logits[going]).to(logits.dtype)) if writings else logits

    def _stops(self, rows: Tensor, counts: Tensor, candidates: Tensor) -> Tensor:
        """Which of the `candidates` (bool [A]) hold a stop string now."""
        found = torch.zeros_like(candidates)
        for place in candidates.nonzero().squeeze(1).tolist():
            ids = self._tokens[rows[place], : counts[place]].tolist()
            found[place] = self._stop.ends(ids)
        return found
