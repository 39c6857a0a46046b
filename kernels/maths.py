# mypy: disable-error-code="no-untyped-def"
"""Small device functions: accurate exp and log forms, the losses at one logit, and soft values of ragged segments.

They use only `tl.exp`, `tl.exp2` and `tl.log`, because libdevice is missing in Triton's interpreter.
"""

import triton
import triton.language as tl

SWITCH = tl.constexpr(-0.5)
TINY_ETA = tl.constexpr(2.0**-100)
LANES = 4  # a segment of rewards, where that is not said


def lanes_of(rewards: int, segments: int, most: int = 128) -> int:
    """Lanes a segment: an eighth of the mean length, from LANES to `most`."""
    lanes: int = triton.next_power_of_2(max(1, rewards // segments // 8))
    return min(most, max(LANES, lanes))


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
def sigmoid(z):
    """1 / (1 + exp(-z)) without overflow."""
    tail = tl.exp(-tl.abs(z))
    return tl.where(z > 0.0, 1.0, tail) / (1.0 + tail)


@triton.jit
def binary_loss(z, target):
    """Loss and dz of the soft-target cross-entropy; see `erprm.kernels.step_loss.reference`."""
    small = tl.exp(-tl.abs(z))
    tail = small / (1.0 + small)
    miss = tl.where(z > 0.0, 1.0 - target, target)
    return tl.abs(z) * miss + log1p_near(small), tl.where(z > 0.0, miss - tail, tail - miss)


@triton.jit
def beta_binomial_loss(z, k, n, s, LANES: tl.constexpr):
    """-ln BetaBinomial(k | n, mu s, (1 - mu) s) and its derivatives in z and in s: one factor a completion.

    With LANES = 1 the arguments are vectors; otherwise they are scalars, and LANES completions are taken at a time.
    """
    small = tl.exp(-tl.abs(z))
    tail = small / (1.0 + small)
    mu = tl.where(z > 0.0, 1.0 - tail, tail)
    nu = tl.where(z > 0.0, tail, 1.0 - tail)
    log_mu = tl.minimum(z, 0.0) - log1p_near(small)
    log_nu = tl.minimum(-z, 0.0) - log1p_near(small)
    failures = n - k
    some_up, some_down = k > 0.0, failures > 0.0
    # Factor 0 of either kind, in the log domain, so that mu or nu may underflow.
    log = tl.where(some_up, log_mu + tl.log(tl.maximum(n, 1.0)), 0.0)
    log += tl.where(some_down, log_nu + tl.log(s / (s + k)), 0.0)
    slope_up = tl.where(some_up, 1.0, 0.0)
    slope_down = tl.where(some_down, 1.0, 0.0)
    drawn = tl.where(n > 0.0, 1.0, 0.0)  # s times the sum of 1 / (s + t) over t < n
    if LANES > 1:
        lane = tl.arange(0, LANES)
        most = n.to(tl.int32)
        for begin in range(1, most, LANES):
            more = beta_binomial_factors((begin + lane).to(tl.float32), mu * s, nu * s, k, n, s)
            log += tl.sum(more[0], axis=0)
            slope_up += tl.sum(more[1], axis=0)
            slope_down += tl.sum(more[2], axis=0)
            drawn += tl.sum(more[3], axis=0)
    else:
        for count in range(1, tl.max(n, axis=0).to(tl.int32)):
            more = beta_binomial_factors(count * 1.0, mu * s, nu * s, k, n, s)
            log += more[0]
            slope_up += more[1]
            slope_down += more[2]
            drawn += more[3]
    return -log, mu * slope_down - nu * slope_up, (drawn - slope_up - slope_down) / s


@triton.jit
def beta_binomial_factors(i, mu_s, nu_s, k, n, s):
    """What factor i > 0 adds to the log-likelihood, and to the three sums of its slopes."""
    up, down = i < k, i < n - k
    ratio = (mu_s + i) / (s + i) * ((n - i) / (i + 1.0))
    log = tl.where(up, tl.log(tl.where(up, ratio, 1.0)), 0.0)
    log += tl.where(down, tl.log((nu_s + i) / (s + k + i)), 0.0)
    return (log, tl.where(up, mu_s / (mu_s + i), 0.0), tl.where(down, nu_s / (nu_s + i), 0.0),
            tl.where(i < n, s / (s + i), 0.0))


@triton.jit
def log_mean(away, mean, direct_mean):
    """ln(mean exp) from mean expm1 in (-1, 0], or below the switch point from mean exp itself; 0 where not `away`."""
    near = mean > SWITCH
    value = tl.where(near, log1p_near(tl.where(near, mean, 0.0)), tl.log(tl.where(near, 1.0, direct_mean)))
    return tl.where(away, value, 0.0)


@triton.jit
def counts_value(k, n, eta):
    """(value, extreme, ln mean exp) of k ones in n binary rewards; n = 0 gives zeros. Shapes broadcast."""
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
def expm1_or_exp(d):
    """For d <= 0: expm1(d) above -1/2 (a Taylor series), exp(d) below; and 1 where it is the latter.

    From the sums of both over a segment follow the means of expm1(d) and of exp(d), each without cancellation.
    """
    series = 1.0 / 5040.0 + d * (1.0 / 40320.0)
    series = 1.0 / 720.0 + d * series
    series = 1.0 / 120.0 + d * series
    series = 1.0 / 24.0 + d * series
    series = 1.0 / 6.0 + d * series
    series = 0.5 + d * series
    series = 1.0 + d * series
    near = d > -0.5
    return tl.where(near, d * series, tl.exp2(d * 1.4426950408889634)), tl.where(near, 0.0, 1.0)


@triton.jit
def rewards_value(n, top, total, far, steepness):
    """(value, extreme, ln mean exp) of a segment of n rewards with maximum `top`, at eta = `steepness` >= 0.

    total, far: sums of what `expm1_or_exp` gives at d = steepness (r - top); for a tiny eta total is that of r - top.
    n = 0 gives zeros.
    """
    size = tl.maximum(n, 1.0)
    log = log_mean(n > 0.0, (total - far) / size, (total + (n - far)) / size)
    tiny = steepness < TINY_ETA
    value = top + tl.where(tiny, total / size, log / tl.where(tiny, 1.0, steepness))
    return value, tl.where(tiny, value, top), tl.where(tiny, 0.0, log)


@triton.jit
def segment_ones(data, left, longest, SEGMENTS: tl.constexpr, LANES: tl.constexpr):
    """How many of the rewards of each segment [SEGMENTS] are not 0, as float32; arguments as for `segment_sums`."""
    ones = tl.zeros((SEGMENTS, LANES), dtype=tl.float32)
    for begin in range(0, longest, LANES):
        r = tl.load(data + begin, mask=begin < left, other=0)
        ones += tl.where(r != 0, 1.0, 0.0)
    return tl.sum(ones, axis=1)


@triton.jit
def segment_sums(data, left, longest, eta, SEGMENTS: tl.constexpr, LANES: tl.constexpr):
    """What `rewards_value` needs for one eta: the maximum [SEGMENTS] of each segment's rewards, of their negatives for
    eta < 0; and the two sums, still a share for each lane [SEGMENTS, LANES].

    data: pointers [SEGMENTS, LANES] to each lane's first reward; left: how many rewards of the segment lie from there
    on; longest: of the segments. The rewards are read twice, the second time from the cache.
    """
    sign = tl.where(eta < 0.0, -1.0, 1.0)
    steepness = tl.abs(eta)
    high = tl.full((SEGMENTS, LANES), float("-inf"), dtype=tl.float32)
    for begin in range(0, longest, LANES):
        inside = begin < left
        r = tl.load(data + begin, mask=inside, other=0.0).to(tl.float32)
        high = tl.maximum(high, tl.where(inside, sign * r, float("-inf")))
    top = tl.max(high, axis=1)
    top = tl.where(top == float("-inf"), 0.0, top)
    total = tl.zeros((SEGMENTS, LANES), dtype=tl.float32)
    far = tl.zeros((SEGMENTS, LANES), dtype=tl.float32)
    if steepness < TINY_ETA:
        for begin in range(0, longest, LANES):
            inside = begin < left
            r = tl.load(data + begin, mask=inside, other=0.0).to(tl.float32)
            total += tl.where(inside, sign * r - top[:, None], 0.0)
    else:
        for begin in range(0, longest, LANES):
            inside = begin < left
            r = tl.load(data + begin, mask=inside, other=0.0).to(tl.float32)
            term, is_far = expm1_or_exp(tl.where(inside, steepness * (sign * r - top[:, None]), 0.0))
            total += term
            far += is_far
    return top, total, far


@triton.jit
def segment_values(data, left, length, eta, BLOCK_S: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr,
                   BINARY: tl.constexpr):
    """Soft values [BLOCK_S, BLOCK_H] of segments of `length` [BLOCK_S] int32, for `eta` [BLOCK_H].

    data, left: [BLOCK_S, BLOCK_R] as for `segment_sums`. The rewards are read once to count ones when BINARY, else
    twice (the second time from the cache), whatever the number of etas.
    """
    longest = tl.max(length, axis=0)
    n = length.to(tl.float32)[:, None]
    eta = eta[None, :]
    if BINARY:
        value, _, _ = counts_value(segment_ones(data, left, longest, BLOCK_S, BLOCK_R)[:, None], n, eta)
    else:
        high = tl.full((BLOCK_S, BLOCK_R), float("-inf"), dtype=tl.float32)
        low = tl.full((BLOCK_S, BLOCK_R), float("inf"), dtype=tl.float32)
        for begin in range(0, longest, BLOCK_R):
            inside = begin < left
            r = tl.load(data + begin, mask=inside, other=0.0).to(tl.float32)
            high = tl.maximum(high, tl.where(inside, r, float("-inf")))
            low = tl.minimum(low, tl.where(inside, r, float("inf")))
        # With eta < 0 the rewards are mirrored, so that the extreme is always a maximum.
        sign = tl.where(eta < 0.0, -1.0, 1.0)
        top = tl.where(eta < 0.0, -tl.min(low, axis=1)[:, None], tl.max(high, axis=1)[:, None])
        top = tl.where(length[:, None] > 0, top, 0.0)
        steepness = tl.abs(eta)
        slope = tl.where(steepness < TINY_ETA, 0.0, steepness)[:, :, None]
        total = tl.zeros((BLOCK_S, BLOCK_H, BLOCK_R), dtype=tl.float32)
        far = tl.zeros((BLOCK_S, BLOCK_H, BLOCK_R), dtype=tl.float32)
        for begin in range(0, longest, BLOCK_R):
            inside = begin < left
            r = tl.load(data + begin, mask=inside, other=0.0).to(tl.float32)
            below = tl.where(inside[:, None, :], sign[:, :, None] * r[:, None, :] - top[:, :, None], 0.0)
            term, is_far = expm1_or_exp(slope * below)
            total += tl.where(slope == 0.0, below, term)
            far += is_far
        value, _, _ = rewards_value(n, top, tl.sum(total, axis=2), tl.sum(far, axis=2), steepness)
        value *= sign
    return value
