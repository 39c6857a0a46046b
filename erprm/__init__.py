"""erprm: entropy-regularised process reward models (ER-PRM, arXiv 2412.11006).

    from erprm import PRMConfig, PRMTrainer, PRMScorer, patch

are imported when they are first used; everything else lives in the subpackages (docs/design.md has the map).
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["PRMConfig", "PRMScorer", "PRMTrainer", "patch"]

_HOMES = {"PRMConfig": "erprm.prm.training.config", "PRMTrainer": "erprm.prm.training.trainer",
          "PRMScorer": "erprm.prm.scoring.scorer", "patch": "erprm.prm.training.patch"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'erprm' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
