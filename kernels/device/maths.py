# mypy: disable-error-code="no-untyped-def"
"""Small device functions: accurate exp and log forms, and the value of a tile of ragged segments.

They use only `tl.exp` and `tl.log`, because libdevice is missing in Triton's interpreter.
"""

import triton
import triton.language as tl

SWITCH = tl.constexpr(-0.5)
TINY_ETA = tl.constexpr(2.0**-100)


@triton.jit
def expm1_negative(x):
    """exp(x) - 1 for x <= 0 to about 1e-7 relative: a Taylor series above -1/2, the plain form below."""
    series = 1.0 + x * 0.125
    series = 1.0 + x * series * (1.0 / 7.0)
    series = 1.0 + x * series * (1.0 / 6.0)
    series = 1.0 + x * series * 0.2
    series = 1.0 + x * series * 0.25
    series = 1.0 + x * series * (1.0 / 3.0)
    series = 1.0 + x * series * 0.5
    return tl.where(x > -0.5, x * series, tl.exp(x) - 1.0)


@triton.jit
def log1p_near(y):
    """ln(1 + y) for y in [-1/2, 1] to about 1e-7 relative: 2 artanh(y / (2 + y)), whose argument is within 1/3."""
    s = y / (2.0 + y)
    q = s * s
    series = 1.0 / 13.0 + q * (1.0 / 15.0)
    series = 1.0 / 11.0 + q * series
    series = 1.0 / 9.0 + q * series
    series = 1.0 / 7.0 + q * series
    series = 0.2 + q * series
    series = 1.0 / 3.0 + q * series
    return 2.0 * s * (1.0 + q * series)


@triton.jit
def log_mean(away, mean, direct_mean):
    """ln(mean exp) from mean expm1 in (-1, 0], or below the switch point from mean exp itself; 0 where not `away`."""
    near = mean > SWITCH
    value = tl.where(near, log1p_near(tl.where(near, mean, 0.0)), tl.log(tl.where(near, 1.0, direct_mean)))
    return tl.where(away, value, 0.0)


@triton.jit
def counts_value(k, n, eta):
    """(value, extreme, ln mean exp) of k ones in n binary outcomes, [BLOCK]; n = 0 gives zeros. See the reference."""
    size = tl.maximum(n, 1.0)
    up = eta > 0.0
    touched = tl.where(up, k > 0.0, k == n)
    extreme = tl.where(touched & (n > 0.0), 1.0, 0.0)
    share = tl.where(up, (n - k) / size, k / size)
    away = tl.where(tl.where(up, k > 0.0, k < n), share, 0.0)
    step = -tl.abs(eta)
    log = log_mean(n > 0.0, away * expm1_negative(step), (1.0 - away) + away * tl.exp(step))
    tiny = tl.abs(eta) < TINY_ETA
    value = tl.where(tiny, k / size, extreme + log / tl.where(tiny, 1.0, eta))
    return value, tl.where(tiny, k / size, extreme), tl.where(tiny, 0.0, log)


@triton.jit
def segment_value(outcomes, start, length, eta, BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr, BINARY: tl.constexpr):
    """(value, extreme, ln mean exp) of BLOCK_S segments beginning at `start` [BLOCK_S] int64; length 0 gives zeros.

    The outcomes are read once to count ones when BINARY, else twice (the second time from the cache). Sums run in
    BLOCK_R parallel float32 lanes, so a segment of 100,000 adds no more than a few hundred terms one after the other.
    """
    lane = tl.arange(0, BLOCK_R)
    longest = tl.max(length, axis=0)
    n = length.to(tl.float32)
    if BINARY:
        ones = tl.zeros((BLOCK_S, BLOCK_R), dtype=tl.float32)
        for begin in range(0, longest, BLOCK_R):
            inside = (begin + lane)[None, :] < length[:, None]
            r = tl.load(outcomes + start[:, None] + (begin + lane)[None, :], mask=inside, other=0)
            ones += tl.where(r != 0, 1.0, 0.0)
        value, extreme, log = counts_value(tl.sum(ones, axis=1), n, eta)
    else:
        # With eta < 0 the outcomes are mirrored, so that the extreme is always a maximum.
        sign = tl.where(eta < 0.0, -1.0, 1.0)
        size = tl.maximum(n, 1.0)
        highest = tl.full((BLOCK_S, BLOCK_R), float("-inf"), dtype=tl.float32)
        for begin in range(0, longest, BLOCK_R):
            inside = (begin + lane)[None, :] < length[:, None]
            r = tl.load(outcomes + start[:, None] + (begin + lane)[None, :], mask=inside, other=0.0).to(tl.float32)
            highest = tl.maximum(highest, tl.where(inside, sign * r, float("-inf")))
        top = tl.where(length > 0, tl.max(highest, axis=1), 0.0)
        near = tl.zeros((BLOCK_S, BLOCK_R), dtype=tl.float32)
        direct = tl.zeros((BLOCK_S, BLOCK_R), dtype=tl.float32)
        plain = tl.zeros((BLOCK_S, BLOCK_R), dtype=tl.float32)
        for begin in range(0, longest, BLOCK_R):
            inside = (begin + lane)[None, :] < length[:, None]
            r = tl.load(outcomes + start[:, None] + (begin + lane)[None, :], mask=inside, other=0.0).to(tl.float32)
            below = tl.where(inside, sign * r - top[:, None], 0.0)
            scaled = tl.abs(eta) * below
            near += expm1_negative(scaled)
            direct += tl.where(inside, tl.exp(scaled), 0.0)
            plain += below
        log = log_mean(length > 0, tl.sum(near, axis=1) / size, tl.sum(direct, axis=1) / size)
        tiny = tl.abs(eta) < TINY_ETA
        raised = tl.where(tiny, tl.sum(plain, axis=1) / size, log / tl.where(tiny, 1.0, tl.abs(eta)))
        value = sign * (top + raised)
        extreme = tl.where(tiny, value, sign * top)
        log = tl.where(tiny, 0.0, log)
    return value, extreme, log
