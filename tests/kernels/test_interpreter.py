"""Every Triton kernel on this machine, GPU or not: `test_device.py` in Triton's interpreter, in its own process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import triton


@pytest.mark.skipif(triton.__version__ < "3.7" and np.lib.NumpyVersion(np.__version__) >= "2.4.0",
                    reason="the interpreter of Triton 3.6 needs NumPy below 2.4")
def test_kernels_in_the_interpreter() -> None:
    suite = Path(__file__).with_name("test_device.py")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", str(suite)],
        env=environment, cwd=suite.parents[2], capture_output=True, text=True, timeout=600, check=False)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
