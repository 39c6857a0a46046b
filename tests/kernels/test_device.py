"""The Triton kernels against the float64 reference: on a GPU as they are, without one in Triton's interpreter.

`test_interpreter.py` runs this file in a process of its own with TRITON_INTERPRET=1, because Triton reads it on import.
Every output is poisoned: uninitialised memory is filled with NaN, so an element that no kernel wrote cannot pass.
"""

import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from erprm.kernels.device import losses, pools, targets, vocabulary
from erprm.kernels.ops import losses as cpu_losses
from erprm.kernels.ops import vocabulary as cpu_vocabulary
from erprm.kernels.reference import pools as reference_pools
from erprm.kernels.reference import targets as reference_targets

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
    expected, extremes, logs = reference_targets.log_mean_exp(outcomes, offsets, eta)
    found = targets.log_mean_exp(on(outcomes), on(offsets), etas)
    for ours, oracle in zip(found, (expected, extremes, logs), strict=True):
        close(ours, oracle)
    assert ((found[0].cpu() - expected).abs() <= 1e-6).all()
    if dtype.is_floating_point:
        grad = torch.rand(expected.shape)
        slope = reference_targets.log_mean_exp_backward(grad, outcomes, offsets, eta, extremes, logs)
        ours = targets.log_mean_exp_backward(on(grad), on(outcomes), on(offsets), etas, found[1], found[2])
        close(ours, slope, 2e-5 + rounded(slope, dtype))


def test_an_empty_segment_is_zero_and_has_no_weight() -> None:
    offsets, outcomes = torch.tensor([0, 2, 2, 3]), torch.tensor([1, 1, 0], dtype=torch.uint8)
    values = targets.log_mean_exp(on(outcomes), on(offsets), [2.0])[0]
    assert values.tolist() == [[1.0, 0.0, 0.0]]
    hidden, head = torch.randn(4, 8), torch.randn(2, 8)
    positions = torch.tensor([0, 1, 3])
    full = losses.step_loss(on(hidden), on(head), None, on(positions), None, on(outcomes), on(offsets), 2.0, None, None,
                            0.0, None, None, None, True)
    kept = cpu_losses.step_loss(hidden, head, None, positions[[0, 2]], torch.tensor([1.0, 0.0]), None, None, 0.0, None,
                                None, 0.0, None, None, None, True)
    close(full[0], kept[0])
    close(full[3], kept[3])
    assert full[2][1] == 0


def arguments(kind: str, steps: int) -> dict[str, Tensor | float | None]:
    given: dict[str, Tensor | float | None] = dict.fromkeys(
        ("targets", "outcomes", "offsets", "successes", "trials"))
    given |= {"eta": 0.0, "concentration": 0.0}
    if kind == "targets":
        given["targets"] = torch.rand(steps).round(decimals=1)
    elif kind == "counts":
        given["trials"] = torch.randint(0, 9, (steps,))
        given["successes"] = (torch.rand(steps) * (given["trials"] + 1)).floor().long()
        given["concentration"] = 5.0
    else:
        given["offsets"] = ragged(torch.randint(1, 20, (steps,)).tolist())
        data = torch.rand(int(given["offsets"][-1]))
        given["outcomes"] = (data > 0.5).to(torch.uint8) if kind == "binary" else data
        given["eta"] = 2.0
    return given


@pytest.mark.parametrize("kind", ["targets", "outcomes", "binary", "counts"])
@pytest.mark.parametrize(("rows", "width", "steps"), [(1, 8, 1), (9, 64, 0), (70, 100, 33), (20, 600, 20)],
                         ids=["one", "no tag", "masked width", "every row a tag"])
@pytest.mark.parametrize("dtype", HALVES)
def test_step_loss(kind: str, rows: int, width: int, steps: int, dtype: torch.dtype) -> None:
    check_step_loss(kind, rows, width, steps, dtype, heads=2)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("extras", ["bias", "weights", "value", "device value", "strided"])
def test_step_loss_options(heads: int, extras: str) -> None:
    check_step_loss("targets", 50, 96, 20, torch.float32, heads, extras)


def check_step_loss(kind: str, rows: int, width: int, steps: int, dtype: torch.dtype, heads: int, extras: str = "",
                    ) -> None:
    """Forward and backward against the registered CPU operation in float64 on the same, upcast, inputs."""
    hidden = torch.randn(rows, width).to(dtype)
    head = (torch.randn(heads, width) / width**0.5).to(dtype)
    if extras == "strided":
        hidden, head = torch.randn(width, 2 * rows).T[::2], torch.randn(width, heads).T / width**0.5
    positions = torch.randperm(rows)[:steps].sort().values
    given = arguments(kind, steps)
    bias = torch.randn(heads) if extras == "bias" else None
    weights = torch.rand(steps) if extras == "weights" else None
    normalizer = torch.tensor(7.0) if extras == "device value" else None
    value = 5.0 if extras == "value" else None

    def call(operation, place, wide):  # type: ignore[no-untyped-def]
        def send(tensor: object) -> object:
            if not isinstance(tensor, Tensor):
                return tensor
            return (tensor.double() if wide and tensor.is_floating_point() else tensor).to(place)

        return [send(item) for item in (
            hidden, head, bias, positions, given["targets"], given["outcomes"], given["offsets"], given["eta"],
            given["successes"], given["trials"], given["concentration"], weights, normalizer, value, True)]

    oracle = cpu_losses.step_loss(*call(None, "cpu", True))
    sent = call(None, DEVICE, False)
    found = losses.step_loss(*sent)
    for ours, expected in zip(found, oracle, strict=True):
        close(ours, expected, 1e-5)
    grad = torch.tensor(0.7)
    oracle_gradients = cpu_losses.step_loss_backward(
        grad.double(), oracle[4], oracle[2], oracle[3], head.double(), None if bias is None else bias.double(),
        positions, rows, torch.float64, True, True, bias is not None)
    gradients = losses.step_loss_backward(on(grad), found[4], found[2], found[3], *sent[1:4], rows, dtype, True, True,
                                          bias is not None)
    for ours, expected in zip(gradients, oracle_gradients, strict=True):
        assert ours.shape == expected.shape
        close(ours, expected, rounded(expected, dtype))
    again = losses.step_loss(*sent)
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True)), "two runs differ"


def test_extreme_logits_stay_finite() -> None:
    hidden = torch.tensor([[1e4], [-1e4], [1e4], [-1e4], [0.0]])
    positions, values = torch.arange(5), torch.tensor([1.0, 0.0, 0.0, 1.0, 0.5])
    loss, scores, dz, _, _ = losses.step_loss(on(hidden), on(torch.ones(1, 1)), None, on(positions), on(values), None,
                                              None, 0.0, None, None, 0.0, None, None, 1.0, True)
    assert float(loss) == pytest.approx(2e4 + 0.6931472, rel=1e-6)
    assert scores.tolist() == [1.0, 0.0, 1.0, 0.0, 0.5]
    assert dz.tolist() == [0.0, 0.0, 1.0, -1.0, 0.0]


def test_a_position_out_of_range_gives_nan_and_reads_nothing() -> None:
    for wrong in (4, -1, 2**40):
        loss = losses.step_loss(on(torch.randn(4, 8)), on(torch.randn(2, 8)), None, on(torch.tensor([wrong])),
                                on(torch.tensor([0.5])), None, None, 0.0, None, None, 0.0, None, None, None, False)[0]
        assert loss.isnan()


@pytest.mark.parametrize("need", [(True, True), (True, False), (False, True), (False, False)])
@pytest.mark.parametrize("steps", [0, 1, 7])
def test_vocab_step_loss(need: tuple[bool, bool], steps: int) -> None:
    rows, width, size = 12, 32, 5001
    hidden, lm_head = torch.randn(rows, width), torch.randn(size, width)
    positions, values, weights = torch.arange(steps) + 3, torch.rand(steps), torch.rand(steps)
    oracle = cpu_vocabulary.vocab_step_loss(hidden.double(), lm_head.double(), positions, values.double(), 7, 4999,
                                            weights.double(), None, None, *need)
    found = vocabulary.vocab_step_loss(on(hidden), on(lm_head), on(positions), on(values), 7, 4999, on(weights), None,
                                       None, *need, block_elements=3 * size)
    for ours, expected in zip(found, oracle, strict=True):
        assert ours.shape == expected.shape
        close(ours, expected, 1e-5)
    grad = torch.tensor(0.3)
    wanted = cpu_vocabulary.vocab_step_loss_backward(grad.double(), oracle[4], oracle[2], oracle[3], positions, rows,
                                                     torch.float64, torch.float64, *need)
    gradients = vocabulary.vocab_step_loss_backward(on(grad), found[4], found[2], found[3], on(positions), rows,
                                                    torch.float32, torch.float32, *need)
    for ours, expected in zip(gradients, wanted, strict=True):
        close(ours, expected, 1e-5)


def test_vocab_step_loss_in_bfloat16() -> None:
    hidden, lm_head = torch.randn(9, 64).bfloat16(), (torch.randn(700, 64) / 8).bfloat16()
    positions, values = torch.tensor([1, 4, 8]), torch.rand(3)
    oracle = cpu_vocabulary.vocab_step_loss(hidden.double(), lm_head.double(), positions, values.double(), 3, 5, None,
                                            None, None, True, True)
    found = vocabulary.vocab_step_loss(on(hidden), on(lm_head), on(positions), on(values), 3, 5, None, None, None, True,
                                       True)
    for ours, expected, written in zip(found, oracle, (False, False, True, True, False), strict=True):
        close(ours, expected, rounded(expected, torch.bfloat16) if written else 1e-5)


@pytest.mark.parametrize("how", list(reference_pools.HOW))
@pytest.mark.parametrize("lengths", [[1, 4, 2, 9, 3, 3], [200, 1]])
def test_segment_reduce(how: str, lengths: list[int]) -> None:
    offsets, code = ragged(lengths), reference_pools.HOW[how]
    scores = torch.rand(int(offsets[-1])) * 0.4 + 0.6
    if how == "product":
        scores[2] = 0.0
    if how == "min":
        scores[1:4] = 0.25
    close(pools.segment_reduce(on(scores), on(offsets), code), reference_pools.segment_reduce(scores, offsets, code))
    grad = torch.rand(len(lengths))
    close(pools.segment_reduce_backward(on(grad), on(scores), on(offsets), code),
          reference_pools.segment_reduce_backward(grad, scores, offsets, code))


@pytest.mark.parametrize("how", list(reference_pools.HOW))
@pytest.mark.parametrize("candidates", [1, 5, 1024])
def test_pool_best(how: str, candidates: int) -> None:
    problems, code = 2, reference_pools.HOW[how]
    offsets = ragged(torch.randint(1, 6, (problems * candidates,)).tolist())
    scores = torch.rand(int(offsets[-1]))
    values, best = pools.pool_best(on(scores), on(offsets), candidates, code)
    close(values.reshape(-1), reference_pools.segment_reduce(scores, offsets, code))
    assert torch.equal(best, values.max(dim=1).indices)
    assert torch.equal(pools.best_of_n(values), best)


def test_best_of_n_takes_the_first_of_equals_in_any_layout() -> None:
    scores = torch.tensor([[1.0, 3.0], [3.0, 3.0], [2.0, 3.0]]).T
    assert pools.best_of_n(on(scores)).tolist() == [1, 0]
    assert pools.best_of_n(on(torch.empty(0, 4))).tolist() == []


@pytest.mark.skipif(INTERPRETED, reason="needs 10 GB of device memory and a real grid")
def test_offsets_beyond_31_bits() -> None:
    rows, width = 600_000, 4096  # 2.4e9 elements
    hidden = torch.zeros(rows, width, dtype=torch.bfloat16, device=DEVICE)
    positions = torch.tensor([0, rows - 2, rows - 1], device=DEVICE)
    hidden[positions] = torch.randn(3, width, device=DEVICE).bfloat16()
    head, values = torch.randn(2, width, device=DEVICE) / 64, torch.rand(3, device=DEVICE)
    large = losses.step_loss(hidden, head, None, positions, values, None, None, 0.0, None, None, 0.0, None, None, None,
                             True)
    small = losses.step_loss(hidden[positions], head, None, torch.arange(3, device=DEVICE), values, None, None, 0.0,
                             None, None, 0.0, None, None, None, True)
    assert all(torch.equal(a, b) for a, b in zip(large, small, strict=True))
    del hidden
    grad = torch.tensor(1.0, device=DEVICE)
    gradient = losses.step_loss_backward(grad, large[4], large[2], large[3], head, None, positions, rows,
                                         torch.bfloat16, True, True, False)[0]
    expected = losses.step_loss_backward(grad, small[4], small[2], small[3], head, None,
                                         torch.arange(3, device=DEVICE), 3, torch.bfloat16, True, True, False)[0]
    assert torch.equal(gradient[positions], expected)
    assert int(torch.count_nonzero(gradient)) == int(torch.count_nonzero(expected))
