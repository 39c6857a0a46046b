"""Drawing tokens with stateless randomness: sample i of a prefix at step t depends on nothing but (seed + i, t).

A hash of (seed, step) gives a uniform number and the inverse of the cumulative distribution gives the token. No
generator has a state that the other rows of a batch could advance, so a run that was interrupted, split or reordered
draws the same tokens, as long as the logits agree to rounding: another batch shape may change the last bits of a
logit, and a token differs when the uniform number falls into that gap (see docs/rollouts.md for how often).
"""

from __future__ import annotations

import torch
from torch import Tensor


def _signed(value: int) -> int:
    """The int64 with the bits of the unsigned `value`."""
    return value - (1 << 64) if value >= 1 << 63 else value


# Multipliers and shifts of the splitmix64 finaliser (Steele, Lea and Flood, OOPSLA 2014).
_GAMMA, _MIX_1, _MIX_2 = (_signed(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _mix(state: Tensor) -> Tensor:
    """splitmix64's finaliser on int64 tensors: products wrap, shifts are made logical by a mask."""
    state = (state ^ ((state >> 30) & 0x3FFFFFFFF)) * _MIX_1
    state = (state ^ ((state >> 27) & 0x1FFFFFFFFF)) * _MIX_2
    return state ^ ((state >> 31) & 0x1FFFFFFFF)


def uniform(seeds: Tensor, steps: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) from counters.

    Args:
        seeds: int64 [R], one per row.
        steps: int64 [R], how many tokens the row has so far.

    Returns:
        float64 [R], multiples of 2^-53.
    """
    mixed = _mix(_mix(seeds * _GAMMA + 1) + steps * _GAMMA)
    return ((mixed >> 11) & 0x1FFFFFFFFFFFFF).to(torch.float64) * 2.0**-53


def draw(logits: Tensor, seeds: Tensor, steps: Tensor, temperature: float, top_p: float) -> Tensor:
    """One token per row.

    Args:
        logits: [R, V], any float dtype.
        seeds, steps: int64 [R].
        temperature: 0 takes the most likely token.
        top_p: below 1, the smallest set of most likely tokens whose probability reaches it is drawn from.

    Returns:
        int64 [R]; V, which is no token, for a row whose logits hold NaN.
    """
    last = logits.shape[-1] - 1
    if temperature == 0:
        most, token = logits.max(dim=-1)  # NaN is the greatest
        return token.masked_fill(most.isnan(), last + 1)
    probabilities = torch.softmax(logits.float() / temperature, dim=-1)
    order = None
    if top_p < 1:
        probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
        before = probabilities.cumsum(dim=-1) - probabilities
        probabilities = probabilities.masked_fill(before >= top_p, 0)
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    # Strictly below the last sum, so that the entry found exists and has a positive probability.
    target = torch.minimum(uniform(seeds, steps)[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    token = torch.searchsorted(cumulative, target, right=True)
    if order is not None:
        token = order.gather(1, token.clamp(max=last))
    return token.masked_fill(total.isnan(), last + 1).squeeze(1)
