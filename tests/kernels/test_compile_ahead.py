# ruff: noqa: C408  (argument names read better as keywords)
"""Every kernel compiled for Ampere, Hopper and Blackwell without a GPU: registers, spills, shared memory, instructions.

No kernel may spill, and shared memory, static and dynamic, stays within the 163 kB that a program has on an A100.
Instructions are those of the machine code for sm_90: loop bodies times how often they run, times the program's warps,
over what the program does. Rows: tags of the step loss at M much larger than the programs, with 16 completions each for
the likelihood. Rewards: segments of mean length 16 (lengths from 1 to 31, so the longest of a block is 31). The
vocabulary's unit is one warp's instructions for a block of 4,096 logits, of which every warp does an eighth. There is
none for the hidden gradient where most rows have no tag: what a block does depends on the batch.

    python tests/kernels/test_compile_ahead.py --json      # all variants, as a list; 1 where one spills
"""

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton.backends.nvidia")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("Triton's interpreter compiles nothing", allow_module_level=True)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from erprm.kernels.head import gradients as head_gradients
from erprm.kernels.head import triton as head
from erprm.kernels.log_mean_exp import triton as soft
from erprm.kernels.maths import LANES, lanes_of
from erprm.kernels.vocab_loss import triton as vocabulary

ARCHITECTURES = (80, 90, 100)
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
SHARED = 163 * 1024  # bytes that a program may have on an A100
FLOATS = "*fp32"
COMPLETIONS, LENGTHS, WIDTH = 16, range(1, 32), 4096  # what instructions are counted at where a case doesn't say
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
MODES = {"targets": head.TARGETS, "counts": head.COUNTS, "rewards": head.REWARDS, "binary": head.REWARDS,
         "likelihood": head.LIKELIHOOD}


@dataclass(frozen=True)
class Case:
    """A kernel with the types of its arguments, its constants, and how its loops count.

    `units`: from (instructions outside of loops, those of the innermost loops in order) to instructions a unit.
    """

    kernel: Any
    variant: str
    types: dict[str, str]
    constants: dict[str, Any]
    warps: int
    registers: int | None = None  # that ptxas may use, where the launcher sets a limit
    width: int | None = None
    dtype: str = "fp32"
    etas: int = 1
    units: Callable[[int, list[int]], float] | None = None


def step(width: int, learnt: str = "targets", dtype: str = "bf16", etas: int = 1) -> Case:
    """A forward kernel of the losses on a few head rows, without bias and weights."""
    mode, binary = MODES[learnt], learnt == "binary"
    first = {head.TARGETS: FLOATS, head.REWARDS: "*u8" if binary else FLOATS}.get(mode, "*i64")
    types = dict(hidden=f"*{dtype}", head=FLOATS, positions="*i64", first=first, normalizer=FLOATS, scores=FLOATS,
                 dz=FLOATS, partial=FLOATS, partial_dw=FLOATS, loss=FLOATS, db=FLOATS, counter="*i32", N="i32", M="i32",
                 D="i32", hidden_row="i32")
    if mode != head.TARGETS:
        types["second"] = "*i64"
    constants = dict(BLOCK_P=1024, MODE=mode, BINARY=binary, NEED_HEAD=True)
    if etas == 1:
        (block, warps, stages), registers = head.one_margin(width, DTYPES[dtype].itemsize), head.REGISTERS
        types["scalar"] = "fp32"
        constants |= dict(BLOCK_D=block, BLOCK_S=head.BLOCK_S, BLOCK_R=LANES, STAGES=stages)
        kernel = head.one_margin_kernel
        trips = -(-LENGTHS[-1] // LANES)

        def units(_: int, loops: list[int]) -> float:  # over tags; a likelihood's loop within it runs once
            before = 0.0
            if mode in (head.COUNTS, head.REWARDS):  # over BLOCK_S soft values, and within it over their completions
                inner = loops[:-2]
                entered = sum(inner) - (min(inner[1:]) if len(inner) > 1 else 0)  # one of three is for a tiny eta
                before = loops[-2] - sum(inner) + trips * entered
            return (loops[-1] + before / head.BLOCK_S) * warps
    else:
        (block, warps), registers = head.several_margins(DTYPES[dtype], mode, binary), None
        if mode in (head.COUNTS, head.REWARDS):
            types["etas"] = FLOATS
        constants |= dict(H=etas, BLOCK_H=head.block_h(etas), BLOCK_M=head.BLOCK_M, BLOCK_D=block, BLOCK_R=LANES,
                          STAGES=head.STAGES, FACTOR=triton.language.bfloat16)
        kernel = head.margins_kernel
        trips = COMPLETIONS - 1 if mode == head.LIKELIHOOD else -(-LENGTHS[-1] // LANES)

        def units(_: int, loops: list[int]) -> float:  # over blocks of tags; within it twice over the columns, and
            columns, of_tags = loops[0] + loops[-2], sum(loops[1:-2])  # between these over the tags' completions
            once = loops[-1] - columns - of_tags
            return (once + columns * width / block + of_tags * trips) * warps / head.BLOCK_M
    return Case(kernel, learnt, types, constants, warps, registers, width, dtype, etas, units)


def gradient(etas: int, every: bool) -> Case:
    def units(_: int, loops: list[int]) -> float:  # the columns of 16 rows; what comes before them is little
        return max(loops) * WIDTH / head_gradients.BLOCK_D * head_gradients.warps(etas) / head_gradients.BLOCK_N

    types = dict(grad=FLOATS, dz=FLOATS, dw=FLOATS, db=FLOATS, head=FLOATS, positions="*i64", dhidden="*bf16",
                 dhead=FLOATS, dbias=FLOATS, N="i32", M="i32", D="i32", P="i32", search_steps="i32")
    constants = dict(H=etas, EVERY=every, BLOCK_N=head_gradients.BLOCK_N, BLOCK_D=head_gradients.BLOCK_D,
                     SHARES=head_gradients.SHARES, COLUMNS=head_gradients.COLUMNS)
    return Case(head_gradients.gradients_kernel, "every row" if every else "dense", types, constants,
                head_gradients.warps(etas), width=WIDTH, dtype="bf16", etas=etas, units=units if every else None)


def soft_value(dtype: str, etas: int = 1) -> Case:
    types = dict(rewards=f"*{dtype}", offsets="*i64", values=FLOATS, extremes=FLOATS, logs=FLOATS, S="i32", eta="fp32")
    if etas > 1:
        types["numbers"] = FLOATS
    outcomes, warps = soft.SEGMENTS * 16, soft.WARPS
    if dtype == "u8":
        trips = outcomes / soft.TILE + 0.5  # a run begins and ends anywhere in a tile
        return Case(soft.binary_kernel, "forward", types | dict(R="i32"),
                    dict(H=etas, SEGMENTS=soft.SEGMENTS, TILE=soft.TILE), warps, dtype=dtype, etas=etas,
                    units=lambda rest, loops: (rest + trips * loops[0]) * warps / outcomes)
    lanes = lanes_of(outcomes, soft.SEGMENTS)
    trips = -(-LENGTHS[-1] // lanes)

    def units(rest: int, loops: list[int]) -> float:  # the extreme, the sums; the loop for a tiny eta is not entered
        extreme, *of_etas = loops
        body = of_etas.pop() - sum(of_etas) if etas > 1 else 0  # of the loop over etas, without those inside it
        every = rest - body + trips * extreme + etas * (body + trips * max(of_etas))
        return every * warps / (soft.SLOTS // lanes * 16)

    return Case(soft.rewards_kernel, "forward", types, dict(H=etas, SEGMENTS=soft.SLOTS // lanes, LANES=lanes), warps,
                dtype=dtype, etas=etas, units=units)


def vocab(dtype: str) -> Case:
    types = dict(logits=FLOATS, targets=FLOATS, losses=FLOATS, scores=FLOATS, gradient=f"*{dtype}", V="i32", plus="i32",
                 minus="i32", gradient_row="i32")
    return Case(vocabulary.vocabulary_kernel, "epilogue", types, dict(BLOCK_V=4096), 8, dtype=dtype,
                units=lambda _, loops: float(sum(loops)))


SOFT_BACKWARD = Case(soft.backward_kernel, "backward", dict(
    grad=FLOATS, rewards=FLOATS, offsets="*i64", etas=FLOATS, extremes=FLOATS, logs=FLOATS, result=FLOATS, S="i32",
    H="i32"), dict(BLOCK_S=32, BLOCK_R=16), 4,  # over 31 outcomes, and within it over the one eta
    units=lambda rest, loops: (rest - loops[-1] + loops[0] + -(-LENGTHS[-1] // 16) * loops[-1]) * 4 / (32 * 16))
# In the tests: every kernel and mode, at the widths that bind; `--json` has all of them.
TESTED = [*(step(width, learnt) for width in (1024, 2048, 4096) for learnt in ("targets", "counts")),
          step(4096, "rewards"), step(4096, "binary"), step(4096, "likelihood"), step(16_384, dtype="fp32"),
          *(step(width, etas=6) for width in (1024, 2048, 4096)), step(4096, "counts", etas=6),
          step(4096, "rewards", etas=6), step(4096, "binary", etas=6), step(4096, "likelihood", etas=2),
          gradient(1, False), gradient(1, True), gradient(6, True), soft_value("u8"), soft_value("fp32"), SOFT_BACKWARD,
          vocab("bf16")]
ALL = [step(width, learnt, dtype, etas)
       for width in (1024, 2048, 4096, 8192, 16_384) for learnt in MODES for dtype in DTYPES
       for etas in (1, 2 if learnt == "likelihood" else 6)]
ALL += [gradient(etas, every) for etas in (1, 6) for every in (True, False)]
ALL += [soft_value(dtype, etas) for dtype in ("u8", "fp32", "bf16") for etas in (1, 6)]
ALL += [SOFT_BACKWARD, vocab("bf16"), vocab("fp16"), vocab("fp32")]


Code = list[tuple[int, str, str]]


def machine_code(cubin: Path) -> Code:
    """Address, name and operands of every instruction."""
    text = subprocess.run([str(CUOBJDUMP), "-sass", str(cubin)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?([A-Z][\w.]*)([^;]*);", text, re.MULTILINE)
    return [(int(place, 16), name, rest) for place, name, rest in found if name != "NOP"]


def loops_of(code: Code) -> list[tuple[int, int]]:
    """First and last address of every loop, inner before outer."""
    loops = []
    for place, name, rest in code:
        target = re.search(r"0x([0-9a-f]+)", rest) if name.startswith("BRA") else None
        if target and int(target[1], 16) < place:
            loops.append((int(target[1], 16), place))
    return loops


def instructions(code: Code) -> tuple[int, list[int]]:
    """Instructions outside of innermost loops, and the lengths of the loops, inner before outer."""
    loops = loops_of(code)
    lengths = [sum(begin <= place <= end for place, _, _ in code) for begin, end in loops]
    inner = [all(other == loop or not (loop[0] <= other[0] and other[1] <= loop[1]) for other in loops)
             for loop in loops]
    return len(code) - sum(size for size, is_inner in zip(lengths, inner, strict=True) if is_inner), lengths


def resources(case: Case, architecture: int) -> tuple[dict[str, Any], Code]:
    """One entry of the list that `--json` prints, and the machine code for sm_90."""
    names = case.kernel.arg_names
    constants = {name: None for name in names if name not in case.types} | case.constants
    signature = {name: case.types.get(name, "constexpr") for name in names}
    # Pointers come 16-byte aligned and sizes divisible by 16, as they do from PyTorch with real models.
    attributes = {(index,): [["tt.divisibility", 16]] for index, name in enumerate(names)
                  if signature[name].startswith("*") or name in ("D", "V", "hidden_row", "gradient_row", "R")}
    source = ASTSource(fn=case.kernel, signature=signature, constexprs=constants, attrs=attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32),
                              options={"num_warps": case.warps, "enable_fp_fusion": True, "maxnreg": case.registers})
    with tempfile.TemporaryDirectory() as folder:
        cubin = Path(folder) / "kernel.cubin"
        cubin.write_bytes(compiled.asm["cubin"])
        code = machine_code(cubin) if architecture == 90 else []
        text = subprocess.run([str(CUOBJDUMP), "--dump-resource-usage", str(cubin)], capture_output=True, text=True,
                              check=True).stdout
    per_unit = case.units(*instructions(code)) if case.units and code else None
    used = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", text)}
    return {"kernel": case.kernel.__name__, "variant": case.variant, "arch": architecture, "width": case.width,
            "dtype": case.dtype, "etas": case.etas, "registers": used["REG"], "spills": used["STACK"] + used["LOCAL"],
            "shared": compiled.metadata.shared, "per_unit": per_unit}, code


def fits(used: dict[str, Any]) -> bool:
    return used["spills"] == 0 and used["shared"] <= SHARED


compiled_for_hopper = functools.cache(lambda index: resources(TESTED[index], 90))


@pytest.mark.parametrize("index", range(len(TESTED)),
                         ids=lambda index: f"{TESTED[index].kernel.__name__}-{TESTED[index].variant}-{index}")
def test_no_kernel_spills(index: int) -> None:
    used, _ = compiled_for_hopper(index)
    assert fits(used), used


@pytest.mark.parametrize("architecture", [80, 100])
@pytest.mark.parametrize("case", [step(4096), step(16_384, dtype="fp32"), step(16_384, "likelihood", "fp32"),
                                  step(4096, etas=6), step(2048, "counts", "fp32"), step(4096, "rewards", etas=6),
                                  step(4096, "rewards", "fp32", 6), soft_value("fp32"), vocab("bf16")],
                         ids=lambda case: f"{case.kernel.__name__}-{case.variant}-{case.width}-{case.dtype}")
def test_no_kernel_spills_elsewhere(case: Case, architecture: int) -> None:
    used, _ = resources(case, architecture)
    assert fits(used), used


def place_of(kernel: str, width: int | None = None, variant: str = "", dtype: str = "bf16", etas: int = 1) -> int:
    """The place in TESTED of a case."""
    return next(index for index, case in enumerate(TESTED)
                if (case.kernel.__name__, case.width, case.dtype, case.etas) == (kernel, width, dtype, etas)
                and variant in ("", case.variant))


def per_unit(*which: Any, **more: Any) -> float:
    return float(compiled_for_hopper(place_of(*which, **more))[0]["per_unit"])


@pytest.mark.parametrize(("width", "most"), [(4096, 950), (2048, 650), (1024, 320)])
def test_instructions_a_row_of_the_step_loss(width: int, most: int) -> None:
    one = per_unit("one_margin_kernel", width, "targets")
    assert one <= most
    assert per_unit("one_margin_kernel", width, "counts") <= most
    assert per_unit("margins_kernel", width, "targets", etas=6) <= 1.5 * one


@pytest.mark.parametrize(("learnt", "most"), [("counts", 950), ("binary", 1000), ("rewards", 1050)])
def test_soft_values_add_little_to_the_step_loss(learnt: str, most: int) -> None:
    """At D = 4,096, from 16 completions a row; H = 6 at most 1.5 times as many as H = 1."""
    one = per_unit("one_margin_kernel", 4096, learnt)
    assert one <= most
    assert per_unit("margins_kernel", 4096, learnt, etas=6) <= 1.5 * one


def test_instructions_a_row_of_the_hidden_gradient() -> None:
    assert per_unit("gradients_kernel", 4096, "every row") <= 350
    assert per_unit("gradients_kernel", 4096, "every row", etas=6) <= 1200


def wide_loads(index: int, loops: slice) -> int:
    """Bytes that a warp reads from global memory by 16-byte loads, in one turn of each of those loops."""
    code = compiled_for_hopper(index)[1]
    return sum(32 * 16 for begin, end in loops_of(code)[loops] for place, name, _ in code
               if begin <= place <= end and name.startswith("LDG") and name.endswith(".128"))


def test_hidden_rows_are_read_once_and_with_several_margins_twice_whatever_their_number() -> None:
    """Rows pass in 16-byte loads; with several margins the head's rows do too, 8 of them for 64 tags."""
    for learnt in ("targets", "counts", "rewards"):
        index = place_of("one_margin_kernel", 4096, learnt)
        assert wide_loads(index, slice(-1, None)) * TESTED[index].warps == 4096 * 2
    for learnt, etas in (("targets", 6), ("likelihood", 2)):
        index = place_of("margins_kernel", 4096, learnt, etas=etas)
        columns = wide_loads(index, slice(0, 1)) + wide_loads(index, slice(-2, -1))
        block, head_row = TESTED[index].constants["BLOCK_D"], 8 * 4
        assert columns * TESTED[index].warps == block * (2 * head.BLOCK_M * 2 + head_row)


def test_instructions_of_the_other_kernels() -> None:
    assert per_unit("binary_kernel", dtype="u8") <= 1.2
    assert per_unit("rewards_kernel", dtype="fp32") <= 2.5
    assert per_unit("vocabulary_kernel") <= 300


def test_every_kernel_has_a_case() -> None:
    kernels = {name for module in (head, head_gradients, soft, vocabulary) for name in vars(module)
               if name.endswith("_kernel")}
    assert kernels == {case.kernel.__name__ for case in TESTED}


if __name__ == "__main__":
    if sys.argv[1:] != ["--json"]:
        sys.exit("usage: python tests/kernels/test_compile_ahead.py --json")
    every = [(case, architecture) for case in ALL for architecture in ARCHITECTURES]
    too_large = []
    for number, (case, architecture) in enumerate(every):  # each as it is compiled, since all take a quarter of an hour
        entry, _ = resources(case, architecture)
        print("[" if number == 0 else ",", json.dumps(entry), flush=True)
        if not fits(entry):
            too_large.append(entry)
    print("]")
    if too_large:
        sys.exit("spills, or more shared memory than an A100 has:\n" + "\n".join(map(json.dumps, too_large)))
