"""A PRM by the name of the engine that scores with it.

    scorer = load_scorer("ray:transformers", "runs/prm", engine_options={"actors": 8})
    scorer.score(rows)
    scorer.close()
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from erprm.errors import InputError
from erprm.prm.scoring.engines import ENGINES, RAY_OPTIONS
from erprm.prm.scoring.ray import RayScorer
from erprm.prm.scoring.scorer import PRMScorer, Scorer


def load_scorer(engine: str, path: str | Path, *, engine_options: Mapping[str, Any] | None = None, **options: Any,
                ) -> Scorer:
    """The PRM at `path`, loaded by the engine of that name.

    Args:
        engine_options: of Ray (`RAY_OPTIONS`) and of vLLM (`max_model_len`, ...), where the engine has them.
        options: those of `PRMScorer` but for the engine and `vllm_options`.

    Raises:
        InputError: for an unknown engine, or anything that the checkpoint or the options lack.
        MissingExtraError: where Ray or vLLM is needed and not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine: expected one of {', '.join(ENGINES)}, found {engine!r}")
    kind, given = ENGINES[engine], dict(engine_options or {})
    if not kind.ray:
        return PRMScorer(path, kind.inner, vllm_options=given, **options)
    spread = {name: given.pop(name) for name in RAY_OPTIONS if name in given}
    return RayScorer(path, kind.inner, vllm_options=given, **spread, **options)
