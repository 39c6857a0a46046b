"""Step scores into rewards for reinforcement learning: who is credited for what.

    credit([0.9, 0.2, 0.4], "steps")                        # [0.9, 0.2, 0.4]: the scores themselves
    credit([0.9, 0.2, 0.4], "softmin", temperature=0.1)     # nearly [0, 0.2, 0]: the weakest step decides (PURE)
    credit([0.9, 0.2, 0.4], "shaping")                      # [0.9, -0.7, 0.2]: sums to V_L - V_0
    step_rewards([0.9, 0.2, 0.4], RewardOptions(mode="min"))        # [0, 0, 0.2]: one number, paid at the end

A plain sum of scores pays for every further step, so that a policy learns to write many (PURE, arXiv 2504.15275);
potential-based shaping telescopes and leaves the optimal policy as it is (Ng, Harada and Russell 1999).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.options import check, option
from erprm.selection.aggregate import AGGREGATIONS, aggregate
from erprm.values import Array


@dataclass(frozen=True, slots=True)
class Credit:
    """How step scores become step rewards.

    Attributes:
        rewards: (scores [L], temperature, initial) to float64 [L].
        help: one line for the command line.
    """

    rewards: Callable[[Array, float, float], Array]
    help: str


def _steps(scores: Array, temperature: float, initial: float) -> Array:
    return scores.copy()


def _softmin(scores: Array, temperature: float, initial: float) -> Array:
    weights = np.exp((scores.min() - scores) / temperature)
    return np.asarray(weights / weights.sum() * scores)


def _shaping(scores: Array, temperature: float, initial: float) -> Array:
    return np.diff(scores, prepend=initial)


CREDITS: Mapping[str, Credit] = {
    "steps": Credit(_steps, "each step's score; sums pay for length"),
    "softmin": Credit(_softmin, "softmax(-r/T) r, the weakest steps decide (PURE)"),
    "shaping": Credit(_shaping, "V_t - V_(t-1), potential-based: the optimal policy stays"),
}


def credit(scores: npt.ArrayLike, mode: str, *, temperature: float = 0.1, initial: float = 0.0) -> Array:
    """The rewards of a solution's steps from their scores.

    Args:
        scores: [L], r_1..r_L or V_1..V_L, L >= 1.
        mode: "steps", the scores; "softmin", softmax(-r / temperature)_t r_t over the steps (PURE, eq. 6 of arXiv
            2504.15275: as the temperature falls only the weakest step is paid); "shaping", V_t - V_(t-1).
        temperature: T of "softmin", positive.
        initial: V_0 of "shaping", the value of the problem before its first step.

    Returns:
        float64 [L]. With "shaping" they sum to V_L - V_0.

    Raises:
        InputError: for an unknown mode, no steps, scores that are not finite, or a temperature that is not positive.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or not values.size:
        raise InputError(f"scores: expected the scores of at least one step [L], found shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError("scores: expected finite scores, found nan or inf")
    if mode not in CREDITS:
        raise InputError(f"mode: expected one of {', '.join(CREDITS)}, found {mode!r}")
    if not temperature > 0:
        raise InputError(f"temperature: expected a positive number, found {temperature}")
    return CREDITS[mode].rewards(values, temperature, initial)


MODES: Mapping[str, str] = {
    "outcome": "the last step's score, at the end",
    **{name: f"{item.help}, at the end" for name, item in AGGREGATIONS.items()},
    **{name: f"per step, {item.help}" for name, item in CREDITS.items()},
}


@dataclass(frozen=True, slots=True)
class RewardOptions:
    """What a solution is paid for: step scores through `mode`, mixed with the outcome, less penalties."""

    mode: str = option("min", help="how step scores become rewards", choices=MODES)
    temperature: float = option(0.1, help="softmin: smaller pays only the weakest step", above=0)
    initial: float = option(0.0, help="shaping: the value of a problem before its first step")
    outcome_weight: float = option(0.0, help="weight of the graded outcome; the process reward gets the rest", least=0,
                                   most=1)
    normalise: bool = option(False, help="outcome and process rewards are each standardised over the completions of a "
                                         "prompt before they are mixed")
    repeat_penalty: float = option(0.0, help="taken for every step that repeats an earlier one", least=0)
    step_penalty: float = option(0.0, help="taken for every step", least=0)

    def __post_init__(self) -> None:
        check(self)


def step_rewards(scores: npt.ArrayLike, options: RewardOptions) -> Array:
    """The process rewards of a solution, [L] float64: an aggregated score stands at the last step, zeros before it."""
    if options.mode in CREDITS:
        return credit(scores, options.mode, temperature=options.temperature, initial=options.initial)
    values = np.asarray(scores, np.float64)
    total = aggregate(values, "last" if options.mode == "outcome" else options.mode)
    rewards = np.zeros(values.shape)
    rewards[-1] = total
    return rewards


def penalties(steps: Sequence[str], options: RewardOptions) -> Array:
    """What is taken from each step of a solution, [L] float64, not negative."""
    seen: set[str] = set()
    taken = []
    for step in steps:
        text = " ".join(step.split())
        taken.append(options.step_penalty + (options.repeat_penalty if text in seen else 0.0))
        seen.add(text)
    return np.array(taken, np.float64)
