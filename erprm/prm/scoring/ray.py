"""Scoring on many GPUs and machines: Ray actors that each hold a `PRMScorer`.

    scorer = RayScorer("runs/prm", actors=8)               # on this machine, or the cluster of RAY_ADDRESS
    scorer.score(rows)
    scorer.close()

Batches are neighbouring rows, so that candidates of one problem share their prefixes as they do in one process. An
actor that dies costs the batch that it was working on: Ray starts another and gives it that batch again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from erprm.engines.actors import ActorCount, Actors, GpuShare, Retries, Share
from erprm.options import Count, checked
from erprm.prm.checkpoints.forms import open_checkpoint
from erprm.prm.scoring.engines import check_options
from erprm.prm.scoring.scorer import PRMScorer, Row, ScoreReport, Scores


class _Worker:
    """What runs in an actor: one scorer."""

    def __init__(self, path: str, options: dict[str, Any]) -> None:
        self._scorer = PRMScorer(path, **options)

    def describe(self) -> dict[str, Any]:
        return {"form": self._scorer.checkpoint.form, "max_length": self._scorer.max_length}

    def pid(self) -> int:
        return os.getpid()

    def score(self, start: int, rows: list[Row], first: int) -> tuple[int, list[Scores], ScoreReport]:
        self._scorer.report = ScoreReport()
        return start, self._scorer.score(rows, first=first), self._scorer.report


class RayScorer:
    """`PRMScorer.score`, over actors; an idle one takes the next batch of rows.

    Attributes:
        checkpoint: what is scored with, but for its transformer.
        report: of all actors together.
    """

    @checked
    def __init__(self, path: str | Path, inner: str = "transformers", *, actors: ActorCount = 2,
                 batch_rows: Count = 1024, address: str | None = None, cpus: Share = 1.0, gpus: GpuShare = None,
                 retries: Retries = 3,
                 form: str = "auto", separator: str = "\n", device: str | None = None, batch_tokens: int | None = None,
                 share: bool | None = None, too_long: str = "error", vllm_options: Mapping[str, Any] | None = None,
                 eta: float | Sequence[float] | None = None, every: bool = False, **options: Any) -> None:
        """Start the actors and load the model in each.

        Args:
            path: a folder that every machine sees, or a hub name.
            inner: "transformers" or "vllm".
            batch_rows: rows in one batch: what a lost actor costs.
            actors, address, cpus, gpus, retries: see `erprm.engines.actors.Actors`.
            form, separator, device, batch_tokens, share, too_long, vllm_options, eta, every, options: as for
                `PRMScorer`.

        Raises:
            InputError: for what `PRMScorer` or `Actors` refuses.
            MissingExtraError: when Ray is not installed.
        """
        check_options(inner, device=device, batch_tokens=batch_tokens, share=share, too_long=too_long,
                      vllm_options=vllm_options)
        self.checkpoint = open_checkpoint(path, form, separator=separator, eta=eta, every=every)  # before Ray starts
        self.report = ScoreReport()
        self._batch = batch_rows
        held = {"engine": inner, "form": form, "separator": separator, "device": device, "batch_tokens": batch_tokens,
                "share": share, "too_long": too_long, "vllm_options": vllm_options, "eta": eta, "every": every,
                **options}
        self._actors = Actors(_Worker, (str(path), held), f"the PRM {path}", actors=actors, address=address, cpus=cpus,
                              gpus=gpus, retries=retries, options=vllm_options or {})

    def processes(self) -> list[int]:
        """The process id of each actor, on its own machine."""
        return self._actors.processes()

    def score(self, rows: Iterable[Row], advance: Callable[[int], object] | None = None, first: int = 0,
              ) -> list[Scores]:
        """See `PRMScorer.score`. Raises ray.exceptions.RayActorError for a batch whose actor died at every try."""
        source = list(rows)
        found: dict[int, list[Scores]] = {}
        for start, scores, report in self._actors.map(
                lambda actor, start: actor.score.remote(start, source[start: start + self._batch], first + start),
                range(0, len(source), self._batch)):
            found[start] = scores
            self.report += report
            if advance is not None:
                advance(len(scores))
        return [scores for start in sorted(found) for scores in found[start]]

    def close(self) -> None:
        """End the actors, and Ray where this scorer has started it."""
        self._actors.close()
