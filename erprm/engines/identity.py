"""What a model is, apart from where it lies: a short hash of its files, for the fingerprint of a store.

A folder that was moved or copied keeps its identity; one whose weights were trained further gets another.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_WHOLE = 64 << 20  # files up to this many bytes are hashed whole, larger ones in part
_SAMPLES, _BLOCK = 256, 64 << 10
_PARTS = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")


def model_identity(model: str, revision: str | None = None) -> str:
    """"<name> <16 hex digits>" for a folder, "<name>@<revision>" for a model of the hub.

    The hash (BLAKE2b) covers the weights, configuration and tokenizer files. Of a file above 64 MiB it covers the size
    and 256 blocks of 64 KiB spread evenly, so that a model of any size takes well under a second.
    """
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}@{revision or 'main'}"
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted({path for pattern in _PARTS for path in folder.glob(pattern)}):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            if size <= _WHOLE:
                digest.update(file.read())
                continue
            for index in range(_SAMPLES):
                file.seek((size - _BLOCK) * index // (_SAMPLES - 1))
                digest.update(file.read(_BLOCK))
    return f"{folder.resolve().name} {digest.hexdigest()}"
