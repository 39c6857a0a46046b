"""erprm: entropy-regularised process reward models (ER-PRM, arXiv 2412.11006).

    from erprm import PRMConfig, PRMScorer, PRMTrainer, patch       # imported when first asked for
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {"PRMConfig": "erprm.prm.config", "PRMScorer": "erprm.prm.scorer", "PRMTrainer": "erprm.prm.trainer",
           "patch": "erprm.prm.patch"}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'erprm' has no attribute {name!r}")
