"""How fast an engine writes on this machine, from a second of its work.

    rate = measure(engine, [Request("2+3?", "", n=16, seed=0)], Sampling(max_tokens=256))
    print(rate)                                # 3,200 tokens/s, measured here with 64 at once
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from erprm.engines.base import Engine, Request, Sampling

_MOST_ROWS, _FIRST_TOKENS = 256, 4


@dataclass(frozen=True, slots=True)
class Rate:
    """Generated tokens per second with `rows` samples at once; `text`: one of those that were written."""

    tokens_per_second: float
    rows: int
    text: str

    def __str__(self) -> str:
        return f"{self.tokens_per_second:,.0f} tokens/s, measured here with {self.rows:,} at once"


def measure(engine: Engine, requests: Sequence[Request], sampling: Sampling, seconds: float = 1.0) -> Rate:
    """Sample ever more at once, then ever longer, until the calls have taken about `seconds`; the last one counts.

    Args:
        requests: what is asked, at least one; their `n` are the most samples at once (in all at most 256).
    """
    most = min(_MOST_ROWS, sum(request.n for request in requests))
    rows, tokens, spent = 1, min(_FIRST_TOKENS, sampling.max_tokens), 0.0
    while True:
        started = time.perf_counter()
        drawn = engine.sample(_some(requests, rows), replace(sampling, max_tokens=tokens))
        took = time.perf_counter() - started
        spent += took
        written = sum(sample.tokens for samples in drawn for sample in samples)
        if spent + 2 * took > seconds or (rows == most and tokens == sampling.max_tokens):
            return Rate(written / took, rows, drawn[0][0].text)
        if rows < most:
            rows = min(4 * rows, most)
        else:
            tokens = min(2 * tokens, sampling.max_tokens)


def _some(requests: Sequence[Request], rows: int) -> list[Request]:
    """The first `rows` samples that are asked for."""
    some = []
    for request in requests:
        some.append(replace(request, n=min(request.n, rows)))
        rows -= some[-1].n
        if rows == 0:
            break
    return some
