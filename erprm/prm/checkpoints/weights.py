"""The weights of a model folder by name, read one tensor (or a few rows) at a time.

    weights = WeightFiles("runs/prm")
    "lm_head.weight" in weights
    weights["score.weight"]                           # [2, D]
    weights.rows("lm_head.weight", [18, 12])          # [2, D], without reading the other 128,254
"""

from __future__ import annotations

import functools
import json
import math
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from erprm.errors import InputError

ROWS, BIAS = "score.weight", "score.bias"  # the names of a head of its own rows


class WeightFiles:
    """Tensors in safetensors or PyTorch files, in one file or in shards with an index.

    Raises:
        InputError: when the folder holds neither.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._file_of: dict[str, Path] = {}
        for single in ("model.safetensors", "pytorch_model.bin"):
            index = self.folder / f"{single}.index.json"
            if index.is_file():
                self._file_of = {name: self.folder / file for name, file in _weight_map(index).items()}
                return
            if (self.folder / single).is_file():
                self._file_of = dict.fromkeys(_names(self.folder / single), self.folder / single)
                return
        raise InputError(f"{self.folder}: no weights; expected model.safetensors or pytorch_model.bin, or shards")

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __getitem__(self, name: str) -> Tensor:
        path = self._path(name)
        if path.suffix == ".safetensors":
            with safe_open(str(path), framework="pt") as file:
                tensor: Tensor = file.get_tensor(name)
                return tensor
        loaded: Tensor = _pickled(path)[name].clone()
        return loaded

    def rows(self, name: str, indices: Sequence[int]) -> Tensor:
        """Rows `indices` of a matrix, [len(indices), D]. Raises InputError for one outside it."""
        path = self._path(name)
        if path.suffix == ".safetensors":
            with safe_open(str(path), framework="pt") as file:
                part = file.get_slice(name)
                self._check(name, indices, part.get_shape()[0])
                return torch.cat([part[index: index + 1] for index in indices])
        matrix = _pickled(path)[name]
        self._check(name, indices, matrix.shape[0])
        return matrix[list(indices)].clone()

    def files(self) -> list[Path]:
        """The files that hold the weights."""
        return sorted(set(self._file_of.values()))

    def check(self) -> None:
        """Raise InputError, naming the file, unless every file is there, whole, and holds what the index says."""
        for path in self.files():
            held = set(_names(path))
            if missing := [name for name, file in self._file_of.items() if file == path and name not in held]:
                raise InputError(f"{path}: expected the weight {missing[0]}, which the index places there; found none")
        if not self._file_of:
            raise InputError(f"{self.folder}: expected weights, found a file that holds none")

    def check_finite(self) -> None:
        """Raise InputError, naming the file and the weight, for a NaN or infinite number; reads a weight at a time."""
        for name, path in self._file_of.items():
            weight = self[name]
            parts = torch.split(weight, 1 << 24) if weight.is_floating_point() else ()
            if not all(bool(part.isfinite().all()) for part in parts):
                raise InputError(f"{path}: expected finite weights, found NaN or infinite numbers in {name}")

    def elements(self) -> int:
        """How many numbers all weights hold, from the files' headers."""
        return sum(math.prod(shape) for shape in self._shapes.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight, from its file's header."""
        return self._shapes[name]

    @functools.cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for path in self.files():
            if path.suffix == ".safetensors":
                with safe_open(str(path), framework="pt") as file:
                    shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            else:
                shapes |= {name: tuple(tensor.shape) for name, tensor in _pickled(path).items()}
        return shapes

    def _path(self, name: str) -> Path:
        if name not in self._file_of:
            raise InputError(f"{self.folder}: no weight named {name}")
        return self._file_of[name]

    def _check(self, name: str, indices: Sequence[int], size: int) -> None:
        for index in indices:
            if not 0 <= index < size:
                raise InputError(f"{self.folder}: token id {index} lies outside {name}, which has {size} rows")


def head_rows(weights: WeightFiles, hidden: int, classes: int = 2) -> tuple[Tensor, Tensor | None]:
    """The head of some classes: rows [classes, D], and their bias [classes] or None. Raises InputError."""
    rows = weights[ROWS]
    bias = weights[BIAS] if BIAS in weights else None  # noqa: SIM401
    if tuple(rows.shape) != (classes, hidden):
        raise InputError(f"{weights.folder}: {ROWS}: expected a head of {classes} classes on {hidden} hidden numbers, "
                         f"found {list(rows.shape)}")
    if bias is not None and tuple(bias.shape) != (classes,):
        raise InputError(f"{weights.folder}: {BIAS}: expected {classes} numbers, found {list(bias.shape)}")
    return rows, bias


def _weight_map(index: Path) -> dict[str, str]:
    try:
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
        raise InputError(f"{index}: expected an object with 'weight_map', found a problem with "
                         f"{str(error).splitlines()[0]}") from error
    if not isinstance(names, dict) or not all(isinstance(file, str) and Path(file).name == file
                                              for file in names.values()):
        raise InputError(f"{index}: weight_map: expected names of files in this folder for names of weights")
    return names


def _names(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path}: no such file, though it is part of the model")
    if path.suffix != ".safetensors":
        return list(_pickled(path))
    try:
        with safe_open(str(path), framework="pt") as file:
            return list(file.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected whole weights in safetensors form, found {path.stat().st_size:,} bytes "
                         f"that aren't: {str(error).splitlines()[0]}") from error


def _pickled(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise InputError(f"{path}: expected whole weights in PyTorch's form, found a file that it refuses: "
                         f"{(str(error).splitlines() or [type(error).__name__])[0][:200]}") from error
    if not isinstance(loaded, dict) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise InputError(f"{path}: expected a table of weights, found {type(loaded).__name__}")
    return loaded
