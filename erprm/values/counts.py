"""Counts k of n as they are given: checked, and each distinct row of them once.

    k, n = check_counts([0, 3, 16], [16, 16, 16])
    rows, inverse = distinct(k, n, depths)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from erprm.errors import InputError
from erprm.values.soft import Array

Ints = npt.NDArray[np.int64]
JEFFREYS = (0.5, 0.5)


def check_counts(successes: npt.ArrayLike, trials: npt.ArrayLike, least: int = 1) -> tuple[Array, Array]:
    """Counts as float64 in their broadcast shape. Raises InputError unless they are whole, 0 <= k <= n, n >= least."""
    checked = []
    for name, given in (("successes", successes), ("trials", trials)):
        array = np.asarray(given)
        whole = array.dtype.kind in "iub" or (array.dtype.kind == "f" and bool(np.all(np.mod(array, 1.0) == 0.0)))
        if not whole:
            raise InputError(f"{name}: expected whole numbers, found {given!r:.60}")
        checked.append(array.astype(np.float64))
    try:
        k, n = np.broadcast_arrays(*checked)
    except ValueError as error:
        raise InputError(f"successes and trials: expected shapes that broadcast, found {checked[0].shape} and "
                         f"{checked[1].shape}") from error
    for bad, problem in ((n < least, f"expected trials >= {least}"),
                         ((k < 0) | (k > n), "expected 0 <= successes <= trials")):
        if bad.any():
            where = np.unravel_index(int(np.argmax(bad)), bad.shape)
            place = f" at index {', '.join(map(str, where))}" if where else ""
            raise InputError(f"successes and trials: {problem}, found {k[where]:.0f} of {n[where]:.0f}{place}")
    return k, n


def distinct(*columns: npt.ArrayLike) -> tuple[list[Ints], Ints]:
    """(the distinct rows of equally long columns, [U] each; which of them each row is, [N]).

    Prefixes by the thousand share a few hundred rows of counts, so that each needs computing once.
    """
    whole = [np.asarray(column, np.int64) for column in columns]
    key = np.zeros(len(whole[0]), np.int64)
    for column in whole:
        key = key * (int(column.max(initial=0)) + 1) + column
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    return [column[first] for column in whole], inverse
