"""What the operations expect of their arguments, refused with the argument's name.

Shapes, dtypes and devices are checked at every call. Values are checked wherever they can be read without waiting for
a device: by the operations themselves on CPU tensors, and by calling the `check_*` functions here on the host data
before it is sent to a GPU:

    check_positions(positions, rows=hidden_rows)      # int64, strictly increasing, inside [0, rows)
    check_offsets(offsets, total=len(rewards))        # int64, from 0 to total, no empty segment
    check_targets(targets)                            # in [0, 1], no NaN
    check_rewards(rewards, unit=True)                 # the same, for rewards of completions
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from erprm.errors import InputError

REWARD_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.uint8, torch.bool)
FLOAT_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def describe(tensor: Tensor) -> str:
    """dtype, shape and device in a few words."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)} on {tensor.device}"


def check_tensor(name: str, tensor: Tensor, shape: Sequence[int | None], dtypes: Sequence[torch.dtype],
                 device: torch.device) -> None:
    """Raises InputError unless `tensor` has one of the dtypes, the device and the shape (None: any size)."""
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name}: expected a tensor, found {type(tensor).__name__}")
    fits = tensor.dtype in dtypes and tensor.device == device and tensor.dim() == len(shape)
    if fits and (tensor.dtype != torch.float64 or device.type == "cpu"):  # the kernels accumulate in float32
        for have, want in zip(tensor.shape, shape, strict=True):
            if want is not None and have != want:
                break
        else:
            return
    names = [dtype for dtype in dtypes if dtype != torch.float64 or device.type == "cpu"]
    kinds = "/".join(str(dtype).removeprefix("torch.") for dtype in names)
    sizes = [str(size) if size is not None else "any" for size in shape]
    raise InputError(f"{name}: expected {kinds} [{', '.join(sizes)}] on {device}, found {describe(tensor)}")


def check_constant(name: str, tensor: Tensor) -> None:
    """Raises InputError when a gradient is asked for an argument that has none."""
    if tensor.requires_grad:
        raise InputError(f"{name}: expected a tensor without gradient (call .detach()), found one that requires it")


def check_etas(etas: Sequence[float] | None, margins: int | None = None) -> list[float]:
    """The inverse temperatures as floats. Raises InputError unless they are finite, distinct and `margins` many."""
    values = list(etas or ())
    if not values:
        raise InputError("etas: expected at least one number, found none")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise InputError(f"etas: expected finite numbers, found {value!r}")
    if len(set(values)) < len(values):
        raise InputError(f"etas: expected distinct numbers, found {values}")
    if margins is not None and len(values) != margins:
        raise InputError(f"etas: expected {margins}, one for each row of the head but the first, found {len(values)}")
    return [float(value) for value in values]


def check_rows(hidden: Tensor, head: Tensor, positions: Tensor, bias: Tensor | None) -> None:
    """Raises InputError unless the shapes, dtypes and devices are those of a loss on the rows of a head."""
    device = hidden.device
    check_tensor("hidden", hidden, [None, None], FLOAT_DTYPES, device)
    check_tensor("head", head, [None, hidden.shape[1]], FLOAT_DTYPES, device)
    if head.shape[0] < 2:
        raise InputError(f"head: expected at least 2 rows, found {head.shape[0]}")
    check_tensor("positions", positions, [None], (torch.int64,), device)
    if bias is not None:
        check_tensor("bias", bias, [head.shape[0]], FLOAT_DTYPES, device)


def check_scale(weights: Tensor | None, normalizer: Tensor | None, steps: int, device: torch.device) -> list[Tensor]:
    """The normaliser, 0-d, and the weights [steps] if there are any. Without a normaliser: the sum of the weights,
    worked out on the device. Raises InputError."""
    if weights is not None:
        check_tensor("weights", weights, [steps], FLOAT_DTYPES, device)
        check_constant("weights", weights)
    if normalizer is None:
        dtype = torch.float64 if device.type == "cpu" else torch.float32
        normalizer = torch.full((), steps, dtype=dtype, device=device) if weights is None else weights.to(dtype).sum()
    else:
        check_tensor("normalizer", normalizer, [], (*FLOAT_DTYPES, torch.int64, torch.int32), device)
        check_constant("normalizer", normalizer)
    return [normalizer] if weights is None else [normalizer, weights]


FEW = 64  # values that plain Python compares before NumPy and PyTorch have found their kernels


def _increase(values: Tensor) -> tuple[int, int, bool]:
    """First and last of int64 values [M], M > 0, and whether they increase strictly."""
    if values.shape[0] <= FEW:
        few = values.tolist()
        return few[0], few[-1], all(map(operator.lt, few, few[1:]))
    many = values.cpu().numpy()
    return int(many[0]), int(many[-1]), bool((many[1:] > many[:-1]).all())


def check_positions(positions: Tensor, rows: int) -> None:
    """Raises InputError unless positions [M] increase strictly inside [0, rows). Reads the values."""
    if positions.shape[0] == 0:
        return
    first, last, increase = _increase(positions)
    if not increase:
        place = int((positions.diff() <= 0).nonzero()[0])
        raise InputError(f"positions: expected strictly increasing values, found {int(positions[place])} before "
                         f"{int(positions[place + 1])} at index {place}")
    if first < 0 or last >= rows:
        raise InputError(f"positions: expected values in [0, {rows}), found {first if first < 0 else last}")


def check_offsets(offsets: Tensor, total: int, name: str = "offsets") -> None:
    """Raises InputError unless offsets [S + 1] run from 0 to `total` without an empty segment. Reads the values."""
    first, last, increase = _increase(offsets) if offsets.shape[0] else (-1, -1, False)
    if first != 0 or last != total:
        ends = f"{first} and {last}" if offsets.shape[0] else "none"
        raise InputError(f"{name}: expected to begin with 0 and end with {total}, found {ends}")
    if not increase:
        place = int((offsets.diff() <= 0).nonzero()[0])
        what = "an empty segment" if offsets[place] == offsets[place + 1] else "a decrease"
        raise InputError(f"{name}: expected at least one element in every segment, found {what} at segment {place}")


def check_targets(targets: Tensor) -> None:
    """Raises InputError unless every value of [M] or [M, H] lies in [0, 1]. Reads the values."""
    if targets.numel() == 0:
        return
    low, high = (float(end) for end in targets.aminmax())  # NaN if any target is
    if not (low >= 0 and high <= 1):
        place = (~((targets >= 0) & (targets <= 1))).nonzero()[0].tolist()
        raise InputError(f"targets: expected values in [0, 1], found {float(targets[tuple(place)])} at index "
                         f"{', '.join(map(str, place))}")


def check_rewards(rewards: Tensor, unit: bool = False) -> None:
    """Raises InputError for NaN or infinity, or uint8 other than 0 and 1; `unit`: outside [0, 1]. Reads the values."""
    if rewards.dtype == torch.bool or rewards.numel() == 0:
        return
    low, high = (float(end) for end in rewards.aminmax())  # NaN if any reward is
    if (low >= 0 and high <= 1) or (not unit and rewards.dtype != torch.uint8 and math.isfinite(high - low)):
        return
    good = rewards <= 1 if rewards.dtype == torch.uint8 else (
        (rewards >= 0) & (rewards <= 1) if unit else rewards.isfinite())
    if not bool(good.all()):
        place = int((~good).nonzero()[0])
        want = "0 or 1" if rewards.dtype == torch.uint8 else "values in [0, 1]" if unit else "finite values"
        raise InputError(f"rewards: expected {want}, found {rewards[place].item()} at index {place}")


def check_weights(weights: Tensor) -> None:
    """Raises InputError unless every weight is finite and not negative. Reads the values."""
    good = (weights >= 0) & weights.isfinite()
    if not bool(good.all()):
        place = int((~good).nonzero()[0])
        raise InputError(f"weights: expected finite values from 0 up, found {float(weights[place])} at index {place}")


def check_counts(successes: Tensor, trials: Tensor, least: int = 0) -> None:
    """Raises InputError unless 0 <= successes <= trials and trials >= `least` everywhere. Reads the values."""
    good = (successes >= 0) & (successes <= trials) & (trials >= least)
    if not bool(good.all()):
        place = int((~good).nonzero()[0])
        few = f" and trials >= {least}" if least else ""
        raise InputError(f"successes: expected 0 <= successes <= trials{few}, found {int(successes[place])} of "
                         f"{int(trials[place])} at index {place}")
