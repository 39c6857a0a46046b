"""The Triton kernels against the float64 reference: on a GPU as they are, without one in Triton's interpreter.

`test_interpreter.py` runs this file in a process of its own with TRITON_INTERPRET=1, because Triton reads it on import.
Every output is poisoned: uninitialised memory is filled with NaN, so an element that no kernel wrote cannot pass.
"""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from erprm.kernels.counts_loss import reference as counts_reference
from erprm.kernels.counts_loss import triton as counts_device
from erprm.kernels.head import gradients as head_device
from erprm.kernels.head import reference as head_reference
from erprm.kernels.head.reference import Rows
from erprm.kernels.log_mean_exp import reference as soft_reference
from erprm.kernels.log_mean_exp import triton as soft_device
from erprm.kernels.step_loss import reference as step_reference
from erprm.kernels.step_loss import triton as step_device
from erprm.kernels.vocab_loss import op as vocab_op
from erprm.kernels.vocab_loss import triton as vocab_device

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
pytestmark = [] if INTERPRETED else [pytest.mark.gpu]
HALVES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def _poison() -> Iterator[None]:
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def on(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.to(DEVICE)


def close(found: Tensor, expected: Tensor, tolerance: float = 2e-6) -> None:
    """Norm-wise relative error; NaN never passes."""
    difference = (found.double().cpu() - expected.double()).norm()
    assert difference <= tolerance * expected.double().norm() + 1e-9, (found, expected)


def rounded(expected: Tensor, dtype: torch.dtype) -> float:
    """The error allowed to a result that is written in `dtype`: twice the error of eager PyTorch's one rounding, on top
    of float32 accumulation. Triton's interpreter truncates to bfloat16 where a GPU rounds to nearest, which errs by up
    to a whole unit in the last place: there, and only there, that unit is allowed."""
    exact = expected.double()
    eager = float((exact.to(dtype).double() - exact).norm() / exact.norm().clamp_min(1e-300))
    truncated = torch.finfo(dtype).eps if INTERPRETED and dtype == torch.bfloat16 else 0.0
    return 1e-5 + max(2 * eager, truncated)


def ragged(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8, torch.bool])
@pytest.mark.parametrize("lengths", [[1], [16] * 5, [3, 1, 70, 5, 2], [2500, 1]])
def test_log_mean_exp(dtype: torch.dtype, lengths: list[int]) -> None:
    offsets = ragged(lengths)
    data = torch.rand(int(offsets[-1]))
    outcomes = (data > 0.6).to(dtype) if dtype in (torch.uint8, torch.bool) else data.to(dtype)
    etas = [0.0, 1e-4, 2.0, -3.0, 1e4, -1e4]
    eta = torch.tensor(etas, dtype=torch.float32).double().tolist()
    expected, extremes, logs = soft_reference.log_mean_exp(outcomes, offsets, eta)
    found = soft_device.log_mean_exp(on(outcomes), on(offsets), etas)
    for ours, oracle in zip(found, (expected, extremes, logs), strict=True):
        close(ours, oracle)
    assert ((found[0].cpu() - expected).abs() <= 1e-6).all()
    if dtype.is_floating_point:
        grad = torch.rand(expected.shape)
        slope = soft_reference.log_mean_exp_backward(grad, outcomes, offsets, eta, extremes, logs)
        ours = soft_device.log_mean_exp_backward(on(grad), on(outcomes), on(offsets), etas, found[1], found[2])
        close(ours, slope, 2e-5 + rounded(slope, dtype))


def test_log_mean_exp_of_more_segments_than_a_program_owns() -> None:
    lengths = torch.randint(1, 32, (600,)).tolist()
    offsets, data = ragged(lengths), torch.rand(sum(lengths))
    for rewards in (data, (data > 0.5).to(torch.uint8)):
        for etas in ([2.0], [2.0, -1.0]):
            found = soft_device.log_mean_exp(on(rewards), on(offsets), etas)
            for ours, oracle in zip(found, soft_reference.log_mean_exp(rewards, offsets, etas), strict=True):
                close(ours, oracle)


def arguments(learnt: str, steps: int, etas: int) -> tuple[object, ...]:
    """What follows the rows in a forward function of `learnt`."""
    numbers = [2.0, 0.5, -3.0, 1e-4, 10.0, 0.0][:etas]
    if learnt == "targets":
        return (torch.rand(steps, etas).round(decimals=1),)
    if learnt in ("counts", "likelihood"):
        trials = torch.randint(0, 40, (steps,)) if learnt == "likelihood" else torch.randint(1, 9, (steps,))
        successes = (torch.rand(steps) * (trials + 1)).floor().long()
        return (successes, trials, numbers if learnt == "counts" else 5.0 if etas == 1 else None)
    offsets = ragged(torch.randint(1, 20, (steps,)).tolist())
    data = torch.rand(int(offsets[-1]))
    return ((data > 0.5).to(torch.uint8) if learnt == "binary" else data, offsets, numbers)


def oracle(learnt: str, rows: Rows, given: tuple[object, ...]) -> head_reference.Forward:
    if learnt == "targets":
        return step_reference.forward(rows, given[0])
    if learnt == "likelihood":
        return counts_reference.forward(rows, *given)
    if learnt == "counts":
        return step_reference.forward(rows, step_reference.targets_of_counts(*given))
    return step_reference.forward(rows, step_reference.targets_of_rewards(*given))


DEVICE_FORMS = {"targets": step_device.from_targets, "counts": step_device.from_counts,
                "rewards": step_device.from_rewards, "binary": step_device.from_rewards,
                "likelihood": counts_device.forward}


@pytest.mark.parametrize("learnt", DEVICE_FORMS)
@pytest.mark.parametrize("etas", [1, 2])
@pytest.mark.parametrize("dtype", HALVES)
def test_losses_on_head_rows(learnt: str, etas: int, dtype: torch.dtype) -> None:
    check_loss(learnt, 20, 100, 7, dtype, etas)  # a width that is masked


@pytest.mark.parametrize("etas", [1, 6])
@pytest.mark.parametrize(("rows", "width", "steps"), [(1, 8, 1), (9, 64, 0), (5, 40, 5)],
                         ids=["one", "no tag", "every row a tag"])
def test_sizes_of_losses_on_head_rows(rows: int, width: int, steps: int, etas: int) -> None:
    check_loss("targets", rows, width, steps, torch.bfloat16, etas)


@pytest.mark.parametrize(("learnt", "etas"), [("targets", 6), ("counts", 1), ("rewards", 1)])
def test_more_tags_than_the_programs_take_at_a_time(learnt: str, etas: int) -> None:
    """A program adds to the share of the head's gradient that it has written before, and makes more soft values."""
    check_loss(learnt, 250, 40, 230, torch.float32, etas)


@pytest.mark.parametrize("extras", ["bias", "weights", "strided", "frozen"])
@pytest.mark.parametrize("etas", [1, 6])
def test_options_of_losses_on_head_rows(etas: int, extras: str) -> None:
    check_loss("targets", 20, 96, 7, torch.float32, etas, extras)


def check_loss(learnt: str, rows: int, width: int, steps: int, dtype: torch.dtype, etas: int, extras: str = "") -> None:
    """Forward and backward against the reference in float64 on the same, upcast, inputs."""
    hidden = torch.randn(rows, width).to(dtype)
    head = (torch.randn(1 + etas, width) / width**0.5).to(dtype)
    if extras == "strided":
        hidden, head = torch.randn(width, 2 * rows).T[::2], torch.randn(width, 1 + etas).T / width**0.5
    bias = torch.randn(1 + etas) if extras == "bias" else None
    weights = torch.rand(steps) if extras == "weights" else None
    positions = torch.randperm(rows)[:steps].sort().values
    given = arguments(learnt, steps, etas)
    wide = [None if item is None else item.double() for item in (hidden, head, bias, weights)]
    need_head = extras != "frozen"
    exact = Rows(wide[0], wide[1], wide[2], positions, torch.tensor(7.0), wide[3], need_head)
    expected = oracle(learnt, exact, given)
    ours = Rows(on(hidden), on(head), on(bias), on(positions), on(torch.tensor(7)), on(weights), need_head)
    sent = [on(item) if isinstance(item, Tensor) else item for item in given]
    found = DEVICE_FORMS[learnt](ours, *sent)
    for name, mine, wanted in zip(("loss", "scores", "dz", "dw", "db"), found, expected, strict=True):
        if name == "dw" and need_head:
            mine, wanted = mine.sum(dim=0), wanted.sum(dim=0)
        assert mine.shape == wanted.shape, name
        close(mine, wanted, 1e-5)
    grad, need = torch.tensor(0.7), [True, need_head, bias is not None]
    wanted = head_reference.gradients(grad.double(), list(expected[2:]), wide[1], wide[2], positions, rows,
                                      torch.float64, need)
    gradients = head_device.gradients(on(grad), list(found[2:]), ours.head, ours.bias, ours.positions, rows, dtype,
                                      need)
    for mine, exact_gradient in zip(gradients, wanted, strict=True):
        assert mine.shape == exact_gradient.shape
        close(mine, exact_gradient, rounded(exact_gradient, dtype))
    again = DEVICE_FORMS[learnt](ours, *sent)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True)), "two runs differ"


def rows_of(hidden: Tensor, head: Tensor, positions: Tensor) -> Rows:
    return Rows(on(hidden), on(head), None, on(positions), on(torch.tensor(1.0)), None, True)


def test_an_empty_segment_is_zero_and_has_no_weight() -> None:
    offsets, rewards = torch.tensor([0, 2, 2, 3]), torch.tensor([1, 1, 0], dtype=torch.uint8)
    for given in (rewards, rewards.float()):
        assert soft_device.log_mean_exp(on(given), on(offsets), [2.0])[0].tolist() == [[1.0, 0.0, 0.0]]
        for etas in ([2.0], [2.0, 1.0]):
            hidden, head = torch.randn(4, 8), torch.randn(1 + len(etas), 8)
            rows = rows_of(hidden, head, torch.tensor([0, 1, 3]))
            full = step_device.from_rewards(rows, on(given), on(offsets), etas)
            kept = step_device.from_targets(rows_of(hidden, head, torch.tensor([0, 3])),
                                            on(torch.tensor([[1.0], [0.0]]).expand(2, len(etas))))
            close(full[0], kept[0].cpu())
            close(full[3].sum(dim=0), kept[3].sum(dim=0).cpu())
            assert (full[2][1] == 0).all()


def test_extreme_logits_stay_finite() -> None:
    hidden = torch.tensor([[1e4], [-1e4], [1e4], [-1e4], [0.0]])
    values = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5])
    loss, scores, dz, _, _ = step_device.from_targets(rows_of(hidden, torch.tensor([[0.0], [1.0]]), torch.arange(5)),
                                                      on(values[:, None]))
    assert float(loss) == pytest.approx(2e4 + 0.6931472, rel=1e-6)
    assert scores.flatten().tolist() == [1.0, 0.0, 1.0, 0.0, 0.5]
    assert dz.flatten().tolist() == [0.0, 0.0, 1.0, -1.0, 0.0]


@pytest.mark.parametrize("etas", [1, 2])
@pytest.mark.parametrize("wrong", [[4], [-1], [2**40], [2, 2], [3, 1], [1, -1]])
def test_a_wrong_position_gives_nan_and_reads_nothing(wrong: list[int], etas: int) -> None:
    """Out of range, or not above the one before, whose gradient would go to another row."""
    loss, _, dz, _, _ = step_device.from_targets(rows_of(torch.randn(4, 8), torch.randn(1 + etas, 8),
                                                         torch.tensor(wrong)), on(torch.rand(len(wrong), etas)))
    assert loss.isnan()
    assert dz[-1].isnan().all()


def test_every_launch_is_on_the_device_of_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton launches on the current device, whatever device the tensors are on."""
    guarded: list[torch.device] = []

    class Guard(torch.cuda.device_of):
        def __init__(self, tensor: Tensor) -> None:
            guarded.append(tensor.device)
            super().__init__(tensor)

    monkeypatch.setattr(torch.cuda, "device_of", Guard)
    rewards, offsets = torch.rand(6), torch.tensor([0, 2, 6])
    rows = rows_of(torch.randn(4, 8), torch.randn(2, 8), torch.tensor([0, 2]))
    found = step_device.from_rewards(rows, on(rewards), on(offsets), [2.0])
    head_device.gradients(on(torch.tensor(1.0)), list(found[2:]), rows.head, None, rows.positions, 4, torch.float32,
                          [True, True, False])
    _, extremes, logs = soft_device.log_mean_exp(on(rewards), on(offsets), [2.0])
    soft_device.log_mean_exp_backward(on(torch.ones(1, 2)), on(rewards), on(offsets), [2.0], extremes, logs)
    vocab_device.forward(rows.hidden, on(torch.randn(20, 8)), rows.positions, on(torch.rand(2)), [1, 2],
                         [on(torch.tensor(1.0))], [True, True])
    assert len(guarded) == 5
    assert {device.type for device in guarded} == {DEVICE}


def test_etas_are_copied_to_the_device_once() -> None:
    """A copy from the host at each step waits for the device, and cannot be captured in a graph."""
    from erprm.kernels.head.triton import device_numbers

    rows = rows_of(torch.randn(4, 8), torch.randn(3, 8), torch.tensor([0, 2]))
    given = on(torch.rand(6)), on(torch.tensor([0, 2, 6]))
    step_device.from_rewards(rows, *given, [7.0, 8.0])
    before = device_numbers.cache_info()
    step_device.from_rewards(rows, *given, [7.0, 8.0])
    soft_device.log_mean_exp(*given, [7.0, 8.0])
    after = device_numbers.cache_info()
    assert (after.misses, after.hits) == (before.misses, before.hits + 2)
    step_device.from_rewards(rows_of(torch.randn(4, 8), torch.randn(2, 8), torch.tensor([0, 2])), *given, [3.5])
    assert device_numbers.cache_info() == after  # a single eta is an argument


@pytest.mark.parametrize("need", [[True, True], [True, False], [False, True], [False, False]])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_vocab_loss(need: list[bool], steps: int) -> None:
    rows, width, size = 12, 32, 5001
    hidden, lm_head = torch.randn(rows, width), torch.randn(size, width)
    positions, values, weights = torch.arange(steps) + 3, torch.rand(steps), torch.rand(steps)
    norm = torch.tensor(3.0)
    oracle = vocab_op._forward(hidden.double(), lm_head.double(), positions, values.double(), [7, 4999],
                               [norm, weights.double()], need)
    found = vocab_device.forward(on(hidden), on(lm_head), on(positions), on(values), [7, 4999],
                                 [on(norm), on(weights)], need, block_elements=3 * size)
    for ours, expected in zip(found, oracle, strict=True):
        assert ours.shape == expected.shape
        close(ours, expected, 1e-5)
    grad = torch.tensor(0.3)
    wanted = vocab_op._gradients(grad.double(), list(oracle[2:]), positions, rows, torch.float64, torch.float64, need)
    gradients = vocab_op._gradients(on(grad), list(found[2:]), on(positions), rows, torch.float32, torch.float32, need)
    for ours, expected in zip(gradients, wanted, strict=True):
        close(ours, expected, 1e-5)


@pytest.mark.parametrize("size", [700, 8192])
def test_vocab_loss_in_bfloat16(size: int) -> None:
    """The gradient of a row is written over its own logits: 8,192 tokens are two blocks of them."""
    hidden, lm_head = torch.randn(9, 64).bfloat16(), (torch.randn(size, 64) / 8).bfloat16()
    positions, values = torch.tensor([1, 4, 8]), torch.rand(3)
    given = [3, 5], [torch.tensor(3.0)], [True, True]
    oracle = vocab_op._forward(hidden.double(), lm_head.double(), positions, values.double(), *given)
    found = vocab_device.forward(on(hidden), on(lm_head), on(positions), on(values), [3, 5], [on(torch.tensor(3.0))],
                                 [True, True])
    for ours, expected, written in zip(found, oracle, (False, False, True, True, False), strict=True):
        close(ours, expected, rounded(expected, torch.bfloat16) if written else 1e-5)


def test_vocab_loss_multiplies_in_the_dtype_of_autocast() -> None:
    """With float32 weights under autocast, as with bfloat16 ones: not in float32, fifteen times as slow."""
    hidden, lm_head = on(torch.randn(3, 8)), on(torch.randn(20, 8))
    assert vocab_device.matrix_dtype(hidden, lm_head) == torch.float32
    assert vocab_device.matrix_dtype(hidden, lm_head.bfloat16()) == torch.bfloat16
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        assert vocab_device.matrix_dtype(hidden, lm_head) == torch.bfloat16


@pytest.mark.skipif(INTERPRETED, reason="needs 10 GB of device memory and a real grid")
def test_offsets_beyond_31_bits() -> None:
    rows, width = 600_000, 4096  # 2.4e9 elements
    hidden = torch.zeros(rows, width, dtype=torch.bfloat16, device=DEVICE)
    positions = torch.tensor([0, rows - 2, rows - 1], device=DEVICE)
    hidden[positions] = torch.randn(3, width, device=DEVICE).bfloat16()
    head, values = torch.randn(2, width, device=DEVICE) / 64, torch.rand(3, 1, device=DEVICE)
    one, three = torch.tensor(1.0, device=DEVICE), torch.arange(3, device=DEVICE)
    large = step_device.from_targets(Rows(hidden, head, None, positions, one, None, True), values)
    small = step_device.from_targets(Rows(hidden[positions], head, None, three, one, None, True), values)
    assert all(torch.equal(a, b) for a, b in zip(large, small, strict=True))
    del hidden
    gradient = head_device.gradients(one, list(large[2:]), head, None, positions, rows, torch.bfloat16,
                                     [True, True, False])[0]
    expected = head_device.gradients(one, list(small[2:]), head, None, three, 3, torch.bfloat16, [True, True, False])[0]
    assert torch.equal(gradient[positions], expected)
    assert int(torch.count_nonzero(gradient)) == int(torch.count_nonzero(expected))
