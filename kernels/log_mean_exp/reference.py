"""Segment log-mean-exp in plain PyTorch: rewards of completions into soft values.

    V_s = (1/eta) ln mean_{i in s} exp(eta r_i)                          ER-PRM, arXiv 2412.11006, equation (7)

With r* the segment's maximum (its minimum for eta < 0) and d_i = eta (r_i - r*) <= 0,

    V_s = r* + ln(mean exp(d_i)) / eta,        ln(mean exp(d_i)) = log1p(m),  m = mean expm1(d_i) in (-1, 0].

log1p(m) is exact to rounding for small |eta|; as m nears -1 it loses the logarithm of 1 + m, so below m = -1/2 the
plain ln(mean exp(d_i)) is taken: the switch point. Below |eta| = 2^-100 the value is the mean, exact to rounding.
Everything is computed in float64; the caller casts once. For rewards narrower than that, log1p(m) is taken everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

SWITCH = -0.5
TINY_ETA = 2.0**-100
BLOCK = 1 << 16  # rewards worked on at a time


def is_binary(rewards: Tensor) -> bool:
    """Whether the dtype says that rewards are 0 or 1, so that counts are enough."""
    return rewards.dtype in (torch.uint8, torch.bool)


def log_mean_exp(rewards: Tensor, offsets: Tensor, etas: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Soft values of ragged segments.

    Args:
        rewards: [R] any real dtype; uint8 and bool are binary.
        offsets: [S + 1] int64, segment s is rewards[offsets[s]:offsets[s + 1]]; none is empty.
        etas: H inverse temperatures.

    Returns:
        values, extremes r*, and ln(mean exp(eta (r - r*))), each [H, S] float64.
    """
    starts, lengths = offsets[:-1], offsets.diff()
    result = [torch.empty((len(etas), starts.shape[0]), dtype=torch.float64) for _ in range(3)]
    if starts.shape[0] == 0:
        return result[0], result[1], result[2]
    data = rewards.detach()
    if is_binary(data):
        ones = np.add.reduceat(data.view(torch.uint8).numpy(), starts.numpy(), dtype=np.int64)
        successes = torch.from_numpy(ones)
        for row, eta in enumerate(etas):
            for part, values in enumerate(counts_value(successes, lengths, eta)):
                result[part][row] = values
    else:
        for first, last in _blocks(offsets):
            place = slice(first, last)
            begin, end = int(offsets[first]), int(offsets[last])
            wide = data[begin:end].to(torch.float64)
            for row, eta in enumerate(etas):
                found = _ragged_value(wide, starts[place] - begin, lengths[place], eta, data.dtype == torch.float64)
                for part, values in enumerate(found):
                    result[part][row, place] = values
    return result[0], result[1], result[2]


def counts_value(successes: Tensor, trials: Tensor, eta: float) -> tuple[Tensor, Tensor, Tensor]:
    """The same three values from counts [S] of binary rewards: k ones in n; NaN for n = 0."""
    p = successes.to(torch.float64) / trials
    if abs(eta) < TINY_ETA:
        return p, p, torch.zeros_like(p)
    # The share of rewards that lie one below (eta > 0) or one above (eta < 0) the extreme.
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


def log_mean_exp_backward(grad: Tensor, rewards: Tensor, offsets: Tensor, etas: Sequence[float], extremes: Tensor,
                          logs: Tensor) -> Tensor:
    """dV_s/dr_i = exp(eta (r_i - r*) - ln mean exp) / n_s, summed over the H values of eta.

    Args:
        grad: [H, S]; extremes, logs: [H, S] as `log_mean_exp` returned them.

    Returns:
        [R] float64.
    """
    lengths = offsets.diff()
    wide = rewards.to(torch.float64)
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


def _blocks(offsets: Tensor) -> Iterator[tuple[int, int]]:
    """Ranges of whole segments with about BLOCK rewards, so that the passes over them stay in the cache."""
    first, segments = 0, offsets.shape[0] - 1
    while first < segments:
        last = int(torch.searchsorted(offsets, offsets[first] + BLOCK, right=True)) - 1
        last = min(max(last, first + 1), segments)
        yield first, last
        first = last


def _ragged_value(rewards: Tensor, starts: Tensor, lengths: Tensor, eta: float, exact: bool,
                  ) -> tuple[Tensor, Tensor, Tensor]:
    """The three values of float64 `rewards` whose segments begin at `starts`, none empty.

    NumPy's `reduceat` and `repeat` take half the time of their counterparts in PyTorch. Without `exact` the form of the
    far side is left out: in float64, log1p(m) is within 1e-16 n / eta there for a segment of n, far below float32.
    """
    values, begins = rewards.numpy(), starts.numpy()
    if abs(eta) < TINY_ETA:
        mean = torch.from_numpy(np.add.reduceat(values, begins)) / lengths
        return mean, mean, torch.zeros_like(mean)
    extreme = (np.maximum if eta > 0 else np.minimum).reduceat(values, begins)
    scaled = torch.from_numpy(values - np.repeat(extreme, lengths.numpy())).mul_(eta)
    mean = torch.from_numpy(np.add.reduceat(torch.expm1(scaled).numpy(), begins)).div_(lengths)
    log = torch.log1p(mean)
    if exact:
        far = mean <= SWITCH
        if bool(far.any()):
            direct = torch.from_numpy(np.add.reduceat(scaled.exp_().numpy(), begins)).div_(lengths)
            log = torch.where(far, torch.log(direct), log)
    top = torch.from_numpy(extreme)
    return top + log / eta, top, log
