"""Soft values of steps from the outcomes of their completions.

    outcomes = torch.tensor([1, 0, 0, 1, 1], dtype=torch.uint8)
    offsets = torch.tensor([0, 3, 5])                      # step 0 has three completions, step 1 two
    log_mean_exp(outcomes, offsets, eta=2.0)               # tensor([0.5705, 1.0000])
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from erprm.errors import InputError
from erprm.kernels import checks
from erprm.kernels.ops import eager
from erprm.kernels.ops import targets as ops


def log_mean_exp(outcomes: Tensor, offsets: Tensor, eta: float | Sequence[float]) -> Tensor:
    """V_s = (1/eta) ln mean_{i in s} exp(eta r_i): ER-PRM's soft value (arXiv 2412.11006, equation 7) per segment.

    Args:
        outcomes: [R] float64, float32, bfloat16, float16, or uint8/bool for outcomes that are 0 or 1 (these are only
            counted). Finite. Differentiable when floating.
        offsets: [S + 1] int64 from 0 to R; segment s is outcomes[offsets[s]:offsets[s + 1]], at least one element.
        eta: inverse temperature, or H of them. Any finite value: 0 is the mean, +large the maximum, negative the soft
            minimum.

    Returns:
        [S], or [H, S] for a sequence: float32 (float64 for float64 outcomes), accumulated in float32 or wider.

    Raises:
        InputError: naming the argument. Values are read on CPU tensors only; see `erprm.kernels.checks`.
    """
    many = not isinstance(eta, (int, float))
    etas = [float(value) for value in eta] if not isinstance(eta, (int, float)) else [float(eta)]
    if not etas:
        raise InputError("eta: expected at least one value, found none")
    for value in etas:
        checks.check_eta(value)
    checks.check_tensor("outcomes", outcomes, [None], checks.OUTCOME_DTYPES, outcomes.device)
    checks.check_tensor("offsets", offsets, [None], (torch.int64,), outcomes.device)
    if offsets.shape[0] == 0:
        raise InputError("offsets: expected at least one value, found none")
    operation = ops.log_mean_exp_eager if eager.is_plain(outcomes) else ops.log_mean_exp
    values: Tensor = operation(outcomes, offsets, etas)[0]
    return values if many else values[0]
