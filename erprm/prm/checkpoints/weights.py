"""The weights of a model folder by name, read one tensor (or a few rows) at a time.

    weights = WeightFiles("runs/prm")
    "lm_head.weight" in weights
    weights["score.weight"]                           # [2, D]
    weights.rows("lm_head.weight", [18, 12])          # [2, D], without reading the other 128,254
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from erprm.errors import InputError

ROWS, BIAS = "score.weight", "score.bias"  # the names of a two-row head


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
                names = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
                self._file_of = {name: self.folder / file for name, file in names.items()}
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

    def _path(self, name: str) -> Path:
        if name not in self._file_of:
            raise InputError(f"{self.folder}: no weight named {name}")
        return self._file_of[name]

    def _check(self, name: str, indices: Sequence[int], size: int) -> None:
        for index in indices:
            if not 0 <= index < size:
                raise InputError(f"{self.folder}: token id {index} lies outside {name}, which has {size} rows")


def _names(path: Path) -> list[str]:
    if path.suffix == ".safetensors":
        with safe_open(str(path), framework="pt") as file:
            return list(file.keys())
    return list(_pickled(path))


def _pickled(path: Path) -> dict[str, Tensor]:
    loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return loaded
