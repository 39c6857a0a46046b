"""Segment log-mean-exp in plain PyTorch: outcomes of completions into soft values.

    V_s = (1/eta) ln mean_{i in s} exp(eta r_i)                          ER-PRM, arXiv 2412.11006, equation (7)

With r* the segment's maximum (its minimum for eta < 0) and d_i = eta (r_i - r*) <= 0,

    V_s = r* + ln(mean exp(d_i)) / eta,        ln(mean exp(d_i)) = log1p(m),  m = mean expm1(d_i) in (-1, 0].

log1p(m) is exact to rounding for small |eta|; as m nears -1 it loses the logarithm of 1 + m, so below m = -1/2 the
plain ln(mean exp(d_i)) is taken: the switch point. Below |eta| = 2^-100 the value is the mean, exact to rounding.
Everything is computed in float64; the caller casts once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

SWITCH = -0.5
TINY_ETA = 2.0**-100


def is_binary(outcomes: Tensor) -> bool:
    """Whether the dtype says that outcomes are 0 or 1, so that counts are enough."""
    return outcomes.dtype in (torch.uint8, torch.bool)


def log_mean_exp(outcomes: Tensor, offsets: Tensor, etas: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Soft values of ragged segments.

    Args:
        outcomes: [R] any real dtype; uint8 and bool are binary.
        offsets: [S + 1] int64, segment s is outcomes[offsets[s]:offsets[s + 1]].
        etas: H inverse temperatures.

    Returns:
        values, extremes r*, and ln(mean exp(eta (r - r*))), each [H, S] float64; an empty segment has 0 everywhere.
    """
    lengths = offsets.diff()
    if is_binary(outcomes):
        successes = _binary_sums(outcomes, offsets)
        parts = [counts_value(successes, lengths, eta) for eta in etas]
    else:
        wide = outcomes.to(torch.float64)
        parts = [_ragged_value(wide, offsets, lengths, eta) for eta in etas]
    values, extremes, logs = (torch.stack(part) for part in zip(*parts, strict=True))
    empty = lengths == 0
    if bool(empty.any()):
        values, extremes, logs = (part.masked_fill(empty, 0.0) for part in (values, extremes, logs))
    return values, extremes, logs


def counts_value(successes: Tensor, trials: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
    """The same three values from counts [S] of binary outcomes: k ones in n; NaN for n = 0."""
    p = successes.to(torch.float64) / trials
    if abs(eta) < TINY_ETA:
        return p, p, torch.zeros_like(p)
    # The share of outcomes that lie one below (eta > 0) or one above (eta < 0) the extreme.
    away, extreme = ((trials - successes) / trials.to(torch.float64), successes > 0) if eta > 0 else (
        p, successes == trials)
    away = torch.where(extreme if eta > 0 else ~extreme, away, 0.0)
    mean = away * math.expm1(-abs(eta))
    log = torch.log1p(mean)
    far = mean <= SWITCH
    if bool(far.any()):
        log = torch.where(far, torch.log((1 - away) + away * math.exp(-abs(eta))), log)
    base = extreme.to(torch.float64)
    return base + log / eta, base, log


def log_mean_exp_backward(grad: Tensor, outcomes: Tensor, offsets: Tensor, etas: Sequence[float], extremes: Tensor,
                          logs: Tensor) -> Tensor:
    """dV_s/dr_i = exp(eta (r_i - r*) - ln mean exp) / n_s, summed over the H values of eta.

    Args:
        grad: [H, S]; extremes, logs: [H, S] as `log_mean_exp` returned them.

    Returns:
        [R] float64.
    """
    lengths = offsets.diff()
    wide = outcomes.to(torch.float64)
    result = torch.zeros_like(wide)
    for row, eta in enumerate(etas):
        share = (grad[row].to(torch.float64) / lengths.clamp_min(1)).repeat_interleave(lengths)
        if abs(eta) < TINY_ETA:
            result += share
            continue
        shift = extremes[row].to(torch.float64).repeat_interleave(lengths)
        log = logs[row].to(torch.float64).repeat_interleave(lengths)
        result += share * torch.exp(eta * (wide - shift) - log)
    return result


def _binary_sums(outcomes: Tensor, offsets: Tensor) -> Tensor:
    totals = torch.zeros(outcomes.numel() + 1, dtype=torch.int64)
    torch.cumsum(outcomes, 0, dtype=torch.int64, out=totals[1:])
    ends = totals[offsets]
    return ends.diff()


def _ragged_value(outcomes: Tensor, offsets: Tensor, lengths: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
    if abs(eta) < TINY_ETA:
        mean = segment(outcomes, offsets, "mean")
        return mean, mean, torch.zeros_like(mean)
    extreme = segment(outcomes, offsets, "max" if eta > 0 else "min")
    scaled = (outcomes - extreme.repeat_interleave(lengths, output_size=outcomes.shape[0])).mul_(eta)
    mean = segment(torch.expm1(scaled), offsets, "mean")
    log = torch.log1p(mean)
    far = mean <= SWITCH
    if bool(far.any()):
        log = torch.where(far, torch.log(segment(scaled.exp_(), offsets, "mean")), log)
    return extreme + log / eta, extreme, log


def segment(data: Tensor, offsets: Tensor, how: str) -> Tensor:
    """`torch.segment_reduce` over ragged segments [S]; an empty one gets that operation's neutral value or NaN."""
    return torch.segment_reduce(data, how, offsets=offsets, axis=0, unsafe=True)
