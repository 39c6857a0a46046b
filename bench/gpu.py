"""The GPU tests and benches: `make gpu PART=kernels` and `make gpu PART=training`, each within eight minutes.

    python bench/gpu.py --part kernels --output results/h100.json
    python bench/gpu.py --part training --smoke        # the same flow on the CPU with tiny sizes

The tests come first: of the kernels, or of layouts, scorer and trainer; then the benches, headline shapes first, every
shape of a kernel in a process of its own. Results go into a fresh file that names the commit (ERPRM_COMMIT where there
is no .git), written as each provider ends. A part that fails or hangs costs only its own time; what failed is a record
with its error. Exit code 1 if anything failed; nothing is timed while the tests are red.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import common

ROOT = Path(__file__).parent.parent
SECONDS = 480.0
NO_SHAPE = 3  # exit code of bench/kernels.py
Task = tuple[str, list[str], float]  # name, command, limit in seconds


def tests(part: str, smoke: bool) -> list[Task]:
    """Building the extension, and the tests of a part."""
    python = sys.executable
    files = {"kernels": ["tests/kernels/test_device.py", "tests/kernels/test_gpu.py"],
             "training": ["tests/kernels/test_gpu_training.py"]}[part]
    if smoke:
        files = ["tests/kernels/test_targets.py"]
    return [("build", [python, "setup.py", "--quiet", "build_ext", "--inplace"], 120.0),
            ("tests", [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *([] if smoke else ["-m", "gpu"]),
                       *files], 150.0)]


def benches(part: str, smoke: bool, output: Path) -> list[Task]:
    """The benches of a part, most wanted first."""
    python, device = sys.executable, "cpu" if smoke else "cuda"
    flags = ["--device", device, "--output", str(output), *(["--smoke"] if smoke else [])]
    if part == "kernels":
        shapes = {"step_loss": 1 if smoke else 6, "vocab_loss": 1 if smoke else 3, "log_mean_exp": 2 if smoke else 6}
        order = sorted(((place, op) for op, count in shapes.items() for place in range(count)),
                       key=lambda entry: entry[0])
        return [(f"{op} {place}", [python, "bench/kernels.py", "--op", op, "--shape", str(place), *flags, "--budget",
                                   "40"], 60.0) for place, op in order] + [
            ("head", [python, "bench/head.py", *flags, "--budget", "35", *(["--no-compile"] if smoke else [])], 50.0)]
    shape = ["--rows", "64"] if smoke else ["--shape", "Llama-3.2-1B", "--rows", "512"]
    return [*((f"train_step {model}", [python, "bench/train_step.py", "--model", model, *flags], 110.0)
              for model in (("tiny",) if smoke else ("1b", "8b-4", "8b-8"))),
            ("score", [python, "bench/score.py", "--device", device, "--runs", "1" if smoke else "3", *shape,
                       "--output", str(output)], 90.0)]


def attempt(command: list[str], limit: float, environment: dict[str, str]) -> str | None:
    """Run a task; what went wrong, or None. Its process group ends with it."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True)
    try:
        code = process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
        return f"stopped after its limit of {limit:.0f} s"
    return None if code in (0, NO_SHAPE) else f"exit code {code}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("kernels", "training"), required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--output", type=Path, help="result file (default: bench/results/<machine>-<part>-<time>.json)")
    given = parser.parse_args()
    fresh = common.default_path()
    output = (given.output or fresh.with_stem(f"{fresh.stem}-{given.part}-{time.strftime('%H%M%S')}")).resolve()
    output.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    end, failed = time.monotonic() + SECONDS, []
    todo = tests(given.part, given.smoke) + benches(given.part, given.smoke, output)
    for name, command, limit in todo:
        left = end - time.monotonic()
        print(f"== {name}: {' '.join(command)}", flush=True)
        error = "no time left" if left < 5 else attempt(command, min(limit, left), environment)
        if error is None:
            continue
        print(f"== {name} failed: {error}", flush=True)
        failed.append(common.Record(name, "gpu.py", "part", {}, "", "cpu" if given.smoke else "cuda", error=error))
        common.write(failed, output)
        if name in ("build", "tests"):
            break
    if output.exists():
        print(common.table(common.read(output)))
    print(f"written to {output}; {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
