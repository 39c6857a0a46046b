# ruff: noqa: C408  (argument names read better as keywords)
"""Every kernel compiled for Ampere, Hopper and Blackwell without a GPU: registers, spills and shared memory.

No kernel may spill, and each has a budget of registers and of shared memory, static and dynamic. The step loss has 128
registers a thread, so that two of its programs share a multiprocessor's 65,536, and up to 100 kB of the 228 that a
Hopper multiprocessor has (164 on Ampere) for rows on their way. The others have 64 or 128: room for 4 to 8 programs of
128 threads.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton.backends.nvidia")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("Triton's interpreter compiles nothing", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from erprm.kernels.device import losses, pools, targets, vocabulary
from erprm.kernels.reference.pools import HOW

ARCHITECTURES = (80, 90, 100)
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
NONE = "constexpr"


@dataclass(frozen=True)
class Case:
    """A kernel with the types of its arguments, its constants and its budget."""

    kernel: Any
    types: dict[str, str]
    constants: dict[str, Any]
    warps: int
    registers: int
    shared: int = 16_384
    cap: int | None = None  # registers that ptxas may use, where the launcher sets a limit


def step_loss(width: int, mode: int, binary: bool, shared: int, dtype: str = "*bf16", bias: bool = True) -> Case:
    block_m, block_d, warps = losses.blocks(width)
    first = {losses.TARGETS: "*fp32", losses.OUTCOMES: "*u8" if binary else "*fp32", losses.COUNTS: "*i64"}[mode]
    types = dict(hidden=dtype, head="*fp32", bias="*fp32" if bias else NONE, positions="*i64", first=first,
                 second=NONE if mode == losses.TARGETS else "*i64", weights="*fp32" if bias else NONE, scores="*fp32",
                 dz="*fp32", partial_loss="*fp32", partial_weight="*fp32", partial_dw="*fp32", N="i32", M="i32",
                 D="i32", hidden_row="i32", hidden_column=NONE, head_row="i32", head_column=NONE, scalar="fp32")
    constants = dict(BLOCK_M=block_m, BLOCK_D=block_d, BLOCK_R=16, MODE=mode, BINARY=binary, PAIR=True,
                     NEED_HEAD=True, STAGES=losses.STAGES, hidden_column=1, head_column=1)
    constants |= {name: None for name, kind in types.items() if kind == NONE and name not in constants}
    return Case(losses.step_loss_kernel, types, constants, warps, losses.MAX_REGISTERS, shared,
                cap=losses.MAX_REGISTERS)


FLOATS = "*fp32"
CASES = {
    "step_loss targets 4096": step_loss(4096, losses.TARGETS, False, 52_000),
    "step_loss outcomes 4096": step_loss(4096, losses.OUTCOMES, False, 16_384),
    "step_loss counts 4096": step_loss(4096, losses.COUNTS, False, 16_384),
    "step_loss binary 2048": step_loss(2048, losses.OUTCOMES, True, 16_384, bias=False),
    "step_loss targets 16384": step_loss(16384, losses.TARGETS, False, 100_000),
    "finish": Case(losses.finish_kernel, dict(
        partial_loss=FLOATS, partial_weight=FLOATS, partial_dw=FLOATS, normalizer=FLOATS, loss=FLOATS, inverse=FLOATS,
        dw=FLOATS, P="i32", D="i32", value="fp32"),
        dict(BLOCK_P=512, BLOCK_D=losses.FINISH_WIDTH, ROWS=losses.FINISH_ROWS, NEED_HEAD=True), 4, 64),
    "hidden_gradient": Case(losses.hidden_gradient_kernel, dict(
        grad=FLOATS, inverse=FLOATS, dz=FLOATS, head=FLOATS, positions="*i64", result="*bf16", N="i32", M="i32",
        D="i32", head_row="i32", head_column=NONE, search_steps="i32"),
        dict(BLOCK_N=16, BLOCK_D=256, PAIR=True, EVERY=False, head_column=1), 8, 64),
    "hidden_gradient compact": Case(losses.hidden_gradient_kernel, dict(
        grad=FLOATS, inverse=FLOATS, dz=FLOATS, head=FLOATS, positions="*i64", result="*bf16", N="i32", M="i32",
        D="i32", head_row="i32", head_column=NONE, search_steps="i32"),
        dict(BLOCK_N=16, BLOCK_D=256, PAIR=True, EVERY=True, head_column=1), 8, 64),
    "head_gradient": Case(losses.head_gradient_kernel, dict(
        grad=FLOATS, inverse=FLOATS, dz=FLOATS, dw=FLOATS, dhead="*bf16", dbias="*bf16", M="i32", D="i32"),
        dict(BLOCK_M=1024, BLOCK_D=512, PAIR=True), 4, 64),
    "log_mean_exp float32": Case(targets.log_mean_exp_kernel, dict(
        outcomes=FLOATS, offsets="*i64", etas=FLOATS, values=FLOATS, extremes=FLOATS, logs=FLOATS, S="i32", H="i32"),
        dict(BLOCK_S=32, BLOCK_R=16, BINARY=False), 4, 128),
    "log_mean_exp uint8": Case(targets.log_mean_exp_kernel, dict(
        outcomes="*u8", offsets="*i64", etas=FLOATS, values=FLOATS, extremes=FLOATS, logs=FLOATS, S="i32", H="i32"),
        dict(BLOCK_S=32, BLOCK_R=16, BINARY=True), 4, 128),
    "log_mean_exp backward": Case(targets.log_mean_exp_backward_kernel, dict(
        grad=FLOATS, outcomes=FLOATS, offsets="*i64", etas=FLOATS, extremes=FLOATS, logs=FLOATS, result=FLOATS, S="i32",
        H="i32"), dict(BLOCK_S=32, BLOCK_R=16), 4, 128),
    "vocabulary": Case(vocabulary.vocabulary_kernel, dict(
        logits=FLOATS, targets=FLOATS, weights=FLOATS, losses=FLOATS, scores=FLOATS, gradient="*bf16", V="i32",
        plus="i32", minus="i32"), dict(BLOCK_V=4096), 8, 128),
    "best_of_n": Case(pools.best_of_n_kernel, dict(
        scores=FLOATS, best="*i64", N="i32", row_stride="i32", column_stride="i32"), dict(BLOCK_N=1024), 4, 64),
}
for _how, _code in HOW.items():
    CASES[f"segment_reduce {_how}"] = Case(pools.segment_reduce_kernel, dict(
        scores=FLOATS, offsets="*i64", values=FLOATS, S="i32"), dict(BLOCK_S=32, BLOCK_R=16, HOW=_code), 4, 128)
    CASES[f"segment_reduce_backward {_how}"] = Case(pools.segment_reduce_backward_kernel, dict(
        grad=FLOATS, scores=FLOATS, offsets="*i64", result=FLOATS, S="i32"),
        dict(BLOCK_S=32, BLOCK_R=16, HOW=_code), 4, 128)
    CASES[f"pool_best {_how}"] = Case(pools.pool_best_kernel, dict(
        scores=FLOATS, offsets="*i64", values=FLOATS, best="*i64", N="i32"), dict(BLOCK_N=1024, HOW=_code), 4, 128)


def resources(case: Case, architecture: int, folder: Path) -> dict[str, int]:
    """REG, STACK, SHARED and LOCAL of the compiled kernel, as its cubin states them."""
    names = case.kernel.arg_names
    signature = {name: case.types.get(name, "constexpr") for name in names}
    # Pointers come 16-byte aligned and sizes divisible by 16, as they do from PyTorch with real models.
    attributes = {(index,): [["tt.divisibility", 16]] for index, name in enumerate(names)
                  if signature[name].startswith("*") or name in ("D", "V", "hidden_row", "head_row")}
    source = ASTSource(fn=case.kernel, signature=signature, constexprs=case.constants, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32),
                              options={"num_warps": case.warps, "enable_fp_fusion": True, "maxnreg": case.cap})
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    text = subprocess.run([str(CUOBJDUMP), "--dump-resource-usage", str(cubin)], capture_output=True, text=True,
                          check=True).stdout
    line = next(line for line in text.splitlines() if "REG:" in line and case.kernel.__name__ in text)
    found = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", line)}
    return found | {"SHARED": compiled.metadata.shared}  # dynamic: the cubin does not state it


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", CASES)
def test_budget(name: str, architecture: int, tmp_path: Path) -> None:
    case = CASES[name]
    used = resources(case, architecture, tmp_path)
    assert used["LOCAL"] == 0, f"{name} on sm_{architecture} spills: {used}"
    assert used["STACK"] == 0, f"{name} on sm_{architecture} spills: {used}"
    assert used["REG"] <= case.registers, f"{name} on sm_{architecture}: {used}, budget {case.registers} registers"
    assert used["SHARED"] <= case.shared, f"{name} on sm_{architecture}: {used}, budget {case.shared} bytes"


def test_every_kernel_has_a_case() -> None:
    kernels = {name for module in (losses, pools, targets, vocabulary) for name in vars(module)
               if name.endswith("_kernel")}
    assert kernels == {case.kernel.__name__ for case in CASES.values()}


if __name__ == "__main__":  # the table for the documentation
    import tempfile

    for title, entry in CASES.items():
        with tempfile.TemporaryDirectory() as place:
            rows = [resources(entry, architecture, Path(place)) for architecture in ARCHITECTURES]
        cells = [f"{row['REG']} / {row['SHARED']} / {row['LOCAL'] + row['STACK']}" for row in rows]
        sys.stdout.write(f"| {title} | {entry.warps} | " + " | ".join(cells) + " |\n")
        sys.stdout.flush()
