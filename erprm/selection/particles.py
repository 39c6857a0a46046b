"""Particle search (sequential Monte Carlo): N solutions that follow the policy which the values define, and ln Z.

    [found] = particle_search(["2+3*4?"], engine, scorer.score, SearchSettings(), eta=2.0, particles=16)
    found.paths[0].steps, found.weights[0], found.log_z

Every particle goes on by one step drawn from the policy pi0 and is weighted by exp(eta (V_t - V_{t-1})), V_0 = 0: what
the new step changed, once. When the effective sample size falls below half the particles, they are resampled
systematically. With exact values the weighted particles estimate pi* = pi0 exp(eta r) / Z, with a bias of order 1/N;
Z itself is estimated without bias, and ln Z estimates eta V(x), the soft value of the problem (arXiv 2502.01618 weighs
by V_t instead, so that early scores count once for every step that follows).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from erprm.engines.base import Engine, prefix_seed
from erprm.errors import InputError
from erprm.selection.search import Branch, Path, Refused, Scorer, SearchSettings, extend
from erprm.values import Array, soft_values
from erprm.values.scales import check_scores_are


@dataclass(frozen=True, slots=True)
class Particles:
    """What a search found for one question.

    Attributes:
        paths: N solutions, repetitions included.
        weights: [N] float64, they sum to 1; a path is drawn in proportion to them.
        log_z: the estimate of ln E exp(eta r) = eta V(x); -inf when no particle could be scored.
    """

    paths: tuple[Path, ...]
    weights: Array
    log_z: float

    def ranked(self) -> list[Path]:
        """The paths that have weight: finished ones first, then by the weight that all copies of a path have."""
        total: dict[Path, float] = {}
        for path, weight in zip(self.paths, self.weights, strict=True):
            total[path] = total.get(path, 0.0) + float(weight)
        kept = [path for path, weight in zip(self.paths, self.weights, strict=True) if weight > 0]
        return sorted(kept, key=lambda path: (not path.finished, -total[path]))


@dataclass(slots=True)
class _Cloud:
    """The particles of one question on their way: paths, ln weights, and ln Z of the resamplings so far."""

    paths: list[Path]
    log_weights: Array
    log_z: float = 0.0
    rounds: int = 0


def particle_search(questions: Sequence[str], engine: Engine, score: Scorer, settings: SearchSettings, eta: float,
                    particles: int = 16, scores_are: str = "value", advance: Callable[[int], object] | None = None,
                    refused: Refused | None = None) -> list[Particles]:
    """Particles for every question; all questions advance together.

    Args:
        settings: `max_steps`, `splitter`, `sampling` and `seed`; the others play no part.
        eta: inverse temperature, finite; 0 draws from the policy itself.
        particles: N, at least 1.
        scores_are: what the last step's score estimates: "value", V_eta, or "mean", the success rate p, which becomes
            ln(1 - p + p e^eta) / eta.
        advance: called with the number of questions that have just ended.
        refused: called for every step that the scorer cannot read; its particle is lost (weight 0). Without it the
            scorer's error is raised.

    Raises:
        InputError: for settings out of range.
    """
    if not np.isfinite(eta):
        raise InputError(f"eta: expected a finite number, found {eta}")
    if particles < 1:
        raise InputError(f"particles: expected at least 1, found {particles}")
    check_scores_are(scores_are)
    settings = replace(settings, expand=1)
    clouds = [_Cloud([Path()] * particles, np.zeros(particles)) for _ in questions]
    running = len(questions)
    while True:
        places = [(number, slot) for number, cloud in enumerate(clouds) for slot, path in enumerate(cloud.paths)
                  if path.open and cloud.log_weights[slot] > -np.inf]
        still = len({number for number, _ in places})
        if advance is not None and still < running:
            advance(running - still)
        running = still
        if not places:
            return [_finished(cloud) for cloud in clouds]
        branches = [Branch(questions[number], slot, clouds[number].paths[slot]) for number, slot in places]
        lost: set[tuple[str, int]] = set()

        def lose(branch: Branch, error: InputError, lost: set[tuple[str, int]] = lost) -> None:
            lost.add((branch.question, branch.tree))
            assert refused is not None
            refused(branch, error)

        extended = extend(engine, score, branches, settings, lose if refused is not None else None)
        for (number, slot), branch, [path] in zip(places, branches, extended, strict=True):
            gain = eta * (_value(path, eta, scores_are) - _value(branch.path, eta, scores_are))
            cloud = clouds[number]
            cloud.paths[slot] = path
            cloud.log_weights[slot] += -np.inf if (branch.question, slot) in lost else gain
        for number in {number for number, _ in places}:
            clouds[number].rounds += 1
            _resample(clouds[number], questions[number], settings.seed)


def systematic(weights: Array, uniform: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Systematic resampling: [N] indices, each i about N w_i times (between its floor and its ceiling).

    Args:
        weights: [N], they sum to 1.
        uniform: in [0, 1), drawn once.
    """
    size = len(weights)
    above = np.cumsum(weights)
    above[-1] = 1.0
    return np.searchsorted(above, (np.arange(size) + uniform) / size, side="right").astype(np.int64)


def _value(path: Path, eta: float, scores_are: str) -> float:
    return float(soft_values(path.scores[-1], eta, scores_are)) if path.scores else 0.0


def _normalised(log_weights: Array) -> tuple[Array, float]:
    """Weights that sum to 1, and ln of the mean weight; equal weights when all are 0."""
    top = float(log_weights.max())
    if top == -np.inf:
        return np.full(len(log_weights), 1.0 / len(log_weights)), top
    weights = np.exp(log_weights - top)
    return weights / weights.sum(), top + float(np.log(weights.mean()))


def _resample(cloud: _Cloud, question: str, seed: int) -> None:
    weights, log_mean = _normalised(cloud.log_weights)
    if 1.0 / np.square(weights).sum() >= len(weights) / 2 or log_mean == -np.inf:
        return
    draw = np.random.default_rng(prefix_seed(seed, "particles", question, str(cloud.rounds))).random()
    cloud.paths = [cloud.paths[index] for index in systematic(weights, draw)]
    cloud.log_weights = np.zeros(len(weights))
    cloud.log_z += log_mean


def _finished(cloud: _Cloud) -> Particles:
    weights, log_mean = _normalised(cloud.log_weights)
    return Particles(tuple(cloud.paths), weights, cloud.log_z + log_mean)
