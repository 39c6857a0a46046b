"""The device that a user named, or the one that this machine has.

    find_device(None)                                 # cuda where there is one, else cpu
    find_device("cuda:9")                             # InputError: device: expected cpu or one of 8 ..., found 'cuda:9'
"""

from __future__ import annotations

import torch

from erprm.errors import InputError


def find_device(name: str | None) -> torch.device:
    """The device. Raises InputError for one that torch does not know or that is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device: expected cpu, cuda or cuda:NUMBER, found {name!r}") from error
    here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device.type not in ("cpu", "cuda", here and here.type):
        raise InputError(f"device: expected cpu{'' if here is None else f' or {here.type}'}, found {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device: expected cpu or one of {torch.cuda.device_count()} CUDA devices, found {name!r}")
    return device
