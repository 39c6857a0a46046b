"""Guided decoding: sample from the policy that the values define, pi* = pi0 exp(eta V), one step at a time.

    paths = guided_decode(questions, engine, scorer.score, SearchSettings(expand=8), eta=2.0)

The optimum of the entropy-regularised objective adds eta V to the reference log-probabilities (Q#, arXiv 2502.20548,
writes 1/eta as eta). Here the candidates are whole steps drawn from pi0, so that one of `expand` candidates is drawn
with probability proportional to exp(eta V); as their number grows this becomes a draw from pi* itself. eta = 0 is the
plain policy, a large eta the best-scored candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from erprm.engines.base import Engine, prefix_seed
from erprm.errors import InputError
from erprm.selection.search import Branch, Path, Refused, Scorer, SearchSettings, extend
from erprm.values import Array, soft_values
from erprm.values.scales import check_scores_are


def guided_log_probs(log_probs: npt.ArrayLike, values: npt.ArrayLike, eta: float) -> Array:
    """log pi* of candidates: log pi0 + eta V, normalised over the last axis.

    Args:
        log_probs: [..., K], the reference's log-probabilities of the candidates (0 for candidates drawn from it).
        values: [..., K], V_eta after each candidate.
        eta: inverse temperature; the multiplier of V.

    Returns:
        float64 [..., K].
    """
    tilted = np.asarray(log_probs, np.float64) + eta * np.asarray(values, np.float64)
    top = tilted.max(axis=-1, keepdims=True)
    return np.asarray(tilted - top - np.log(np.exp(tilted - top).sum(axis=-1, keepdims=True)))


def guided_decode(questions: Sequence[str], engine: Engine, score: Scorer, settings: SearchSettings, eta: float,
                  scores_are: str = "value", advance: Callable[[int], object] | None = None,
                  refused: Refused | None = None) -> list[list[Path]]:
    """Draw `settings.trees` guided solutions to every question.

    Args:
        settings: `expand` candidates a step; `width` and `aggregation` play no part.
        eta: inverse temperature, finite.
        scores_are: what the last step's score estimates: "value", V_eta (a PRM trained on it), or "mean", the success
            rate p, which becomes ln(1 - p + p e^eta) / eta.
        advance: called with the number of questions that have just ended.
        refused: called for every candidate that the scorer cannot read, which is then lost (see `search.extend`).

    Returns:
        For each question its solutions, in the order of the trees.
    """
    if not np.isfinite(eta):
        raise InputError(f"eta: expected a finite number, found {eta}")
    check_scores_are(scores_are)
    paths = {(index, tree): Path() for index in range(len(questions)) for tree in range(settings.trees)}
    running = len(questions)
    while True:
        going = [key for key, path in paths.items() if path.open]
        still = len({index for index, _ in going})
        if advance is not None and still < running:
            advance(running - still)
        running = still
        if not going:
            break
        branches = [Branch(questions[index], tree, paths[index, tree]) for index, tree in going]
        extended = extend(engine, score, branches, settings, refused)
        for key, branch, candidates in zip(going, branches, extended, strict=True):
            last = np.array([path.scores[-1] if path.scores else 0.0 for path in candidates])
            values = soft_values(last, eta, scores_are)
            chances = np.exp(guided_log_probs(np.zeros_like(values), values, eta))
            seed = prefix_seed(settings.seed, "guided", str(branch.tree), branch.question, *branch.path.steps)
            paths[key] = candidates[np.random.default_rng(seed).choice(len(candidates), p=chances / chances.sum())]
    return [[paths[index, tree] for tree in range(settings.trees)] for index in range(len(questions))]
