"""The pure C++ core under sanitizers: memory faults, undefined behaviour and races that no result shows."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "csrc"
COMPILER = os.environ.get("CXX", "g++")


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_core_is_clean(sanitizers: str, tmp_path: Path) -> None:
    if shutil.which(COMPILER) is None:
        pytest.skip(f"{COMPILER} is not installed")
    flags = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    probe = tmp_path / "probe.cpp"
    probe.write_text("int main() { return 0; }\n")
    command = [COMPILER, *flags, str(probe), "-o", str(tmp_path / "probe")]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode != 0:
        pytest.skip(f"{COMPILER} cannot link {flags[0]}: {built.stderr.strip().splitlines()[-1]}")
    started = subprocess.run([tmp_path / "probe"], capture_output=True, text=True)
    if started.returncode != 0:
        pytest.skip(f"an empty program with {flags[0]} does not start here: {started.stderr.strip()[:200]}")
    core = [path for path in sorted(SOURCES.glob("*.cpp")) if path.name != "module.cpp" and "bindings" not in path.name]
    program = tmp_path / "core_test"
    subprocess.run([COMPILER, "-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Werror", *flags, "-pthread",
                    *map(str, core), str(SOURCES / "tests" / "core_test.cpp"), "-o", str(program)], check=True)
    result = subprocess.run([program], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "ok\n"
