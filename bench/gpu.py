"""The GPU tests and all GPU benches in one command, under ten minutes: `make gpu`.

    python bench/gpu.py                    # on a CUDA machine
    python bench/gpu.py --smoke            # the same flow on the CPU with tiny sizes

Every part runs in a process of its own with its own limit, so one that fails or hangs costs only its own time; what
failed is a record with its error in the result file. The limits add up to less than ten minutes, and what a part leaves
over goes to the next ones. Exit code 1 if any part failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common

ROOT = Path(__file__).parent.parent
TOTAL_SECONDS = 570.0


def parts(smoke: bool, output: Path) -> list[tuple[str, list[str], float]]:
    """(name, command, limit in seconds) of each part, most wanted first; the limits add up to TOTAL_SECONDS at most.

    The benches of kernels and of the head end by themselves a little earlier and record what they cut.
    """
    python, device = sys.executable, "cpu" if smoke else "cuda"
    common_flags = ["--device", device, "--output", str(output), *(["--smoke"] if smoke else [])]
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             *(["tests/kernels/test_targets.py"] if smoke else ["-m", "gpu", "tests/kernels"])]
    spread = ["-n", "8"] if importlib.util.find_spec("xdist") and not smoke else []  # they compile a lot
    result = [("build", [python, "setup.py", "--quiet", "build_ext", "--inplace"], 40.0),
              ("tests", [*tests, *spread], 110.0)]
    for op, limit in (("step_loss", 60.0), ("vocab_loss", 55.0), ("log_mean_exp", 35.0)):
        result.append((op, [python, "bench/kernels.py", "--op", op, *common_flags, "--budget", str(limit - 15)], limit))
    result.append(("head", [python, "bench/head.py", *common_flags, "--budget", "35",
                            *(["--no-compile"] if smoke else [])], 50.0))
    for model in ("tiny",) if smoke else ("1b", "8b"):
        result.append((f"train_step {model}", [python, "bench/train_step.py", "--model", model, *common_flags], 60.0))
    shape = ["--rows", "64"] if smoke else ["--shape", "Llama-3.2-1B", "--rows", "2048"]
    result.append(("score", [python, "bench/score.py", "--device", device, "--runs", "1" if smoke else "3", *shape,
                             "--output", str(output)], 40.0))
    if shutil.which("compute-sanitizer") and not smoke:
        result.append(("compute-sanitizer", ["compute-sanitizer", "--error-exitcode", "1", *tests, "-k",
                                             "test_options_of_losses"], 35.0))
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--output", type=Path, default=common.default_path())
    given = parser.parse_args()
    output = given.output.resolve()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    started, failed = time.monotonic(), []
    plan = parts(given.smoke, output)
    assert sum(limit for _, _, limit in plan) <= TOTAL_SECONDS
    for place, (name, command, _) in enumerate(plan):
        later = sum(limit for _, _, limit in plan[place + 1:])
        left = TOTAL_SECONDS - (time.monotonic() - started) - later  # its limit, and what earlier parts left over
        print(f"== {name}: {' '.join(command)}", flush=True)
        error = "no time left" if left < 5 else attempt(command, left, environment)
        if error is not None:
            print(f"== {name} failed: {error}", flush=True)
            failed.append(common.Record(name, "gpu.py", "part", {}, "", "cpu" if given.smoke else "cuda", error=error))
    path = common.write(failed, output)
    print(common.table(common.read(path)))
    print(f"written to {path}; {len(failed)} parts failed, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


def attempt(command: list[str], limit: float, environment: dict[str, str]) -> str | None:
    """Run a part; what went wrong, or None. Its process group ends with it."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        code = process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return f"stopped after its limit of {limit:.0f} s"
    return None if code == 0 else f"exit code {code}"


if __name__ == "__main__":
    sys.exit(main())
