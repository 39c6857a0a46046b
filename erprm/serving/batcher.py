"""Requests that come in while the model is busy are scored together, by the one thread that owns the model.

    with Batcher(PRMScorer("runs/prm")) as batcher:
        batcher.submit([("2+3*4?", ["3*4=12", "2+12=14"])]).result()      # [array [2]], or an InputError for a text

There is no waiting for company: a lone request is scored at once, and under load batches grow by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.policy.reward import refusing_tags
from erprm.prm.scoring.scorer import Scorer
from erprm.selection.search import Text, score_each

Scored = list[npt.NDArray[np.floating] | InputError]


@dataclass(frozen=True, slots=True)
class _Job:
    texts: list[Text]
    scored: Future[Scored] = field(default_factory=Future)

    @property
    def steps(self) -> int:
        return sum(len(steps) for _, steps in self.texts)


class Batcher:
    """Scores the texts of many callers in common batches.

    Args:
        scorer: used by one thread alone.
        batch_steps: most steps of a batch, unless one request has more.
    """

    def __init__(self, scorer: Scorer, batch_steps: int = 4096) -> None:
        self._scores, self._batch_steps = refusing_tags(scorer), batch_steps
        self._waiting: SimpleQueue[_Job | None] = SimpleQueue()
        self.batches = 0
        self._thread = Thread(target=self._run, name="erprm-scorer")
        self._thread.start()

    def __enter__(self) -> Batcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, texts: Sequence[Text]) -> Future[Scored]:
        """For each text its step scores [L], or the error that says why it has none. Cancelled, it is not scored."""
        job = _Job(list(texts))
        self._waiting.put(job)
        return job.scored

    def close(self) -> None:
        """Score what was submitted, then stop."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        kept: _Job | None = None
        while (first := kept or self._waiting.get()) is not None:
            batch, kept, more = [first], None, True
            steps = first.steps
            while more:
                try:
                    job = self._waiting.get_nowait()
                except Empty:
                    break
                if job is None:
                    self._waiting.put(None)  # what came before it is scored first
                    more = False
                elif steps + job.steps > self._batch_steps:
                    kept, more = job, False
                else:
                    batch.append(job)
                    steps += job.steps
            self._score([job for job in batch if job.scored.set_running_or_notify_cancel()])

    def _score(self, jobs: Sequence[_Job]) -> None:
        texts = [text for job in jobs for text in job.texts]
        self.batches += 1
        try:
            found = score_each(self._scores, texts)
        except Exception as error:  # noqa: BLE001  the callers get it; the next batch may do better
            for job in jobs:
                job.scored.set_exception(error)
            return
        for job in jobs:
            job.scored.set_result(found[: len(job.texts)])
            del found[: len(job.texts)]
