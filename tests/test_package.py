"""What holds for the installed package as a whole."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_transformers_does_not_take_our_kernels_for_hugging_faces() -> None:
    code = ("import kernels, transformers.utils as u; assert not u.is_kernels_available(); "
            "assert not hasattr(kernels, 'step_loss'); import erprm.kernels; assert erprm.kernels.step_loss")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_core_imports_without_the_extras() -> None:
    blocked = ["vllm", "ray", "trl", "peft", "datasets", "reasoning_gym", "flash_attn", "liger_kernel", "matplotlib"]
    code = (f"import sys; [sys.modules.__setitem__(name, None) for name in {blocked}]\n"
            "import erprm.kernels, erprm.prm.training.trainer, erprm.prm.scoring.scorer, "
            "erprm.engines.transformers, erprm.rollouts.run")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
