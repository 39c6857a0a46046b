"""Scores of solutions and best-of-N on the CPU."""

from itertools import pairwise

import pytest
import torch

from erprm.errors import InputError
from erprm.kernels import best_of_n, pool_best, segment_last, segment_mean, segment_min, segment_product

OFFSETS = torch.tensor([0, 3, 4, 7])
REDUCTIONS = {"min": (segment_min, min), "mean": (segment_mean, lambda part: sum(part) / len(part)),
              "product": (segment_product, lambda part: torch.tensor(part).prod().item()),
              "last": (segment_last, lambda part: part[-1])}


@pytest.mark.parametrize("how", list(REDUCTIONS))
def test_reductions_and_their_gradients(how: str) -> None:
    torch.manual_seed(0)
    ours, oracle = REDUCTIONS[how]
    scores = torch.rand(7, dtype=torch.float64, requires_grad=True)
    parts = [scores[start:end].tolist() for start, end in pairwise(OFFSETS.tolist())]
    assert ours(scores, OFFSETS).tolist() == pytest.approx([oracle(part) for part in parts], rel=1e-6)
    assert torch.autograd.gradcheck(lambda s: ours(s, OFFSETS), scores)
    values, best = pool_best(scores, OFFSETS, 3, how)
    assert torch.equal(values, ours(scores, OFFSETS).detach()[None])
    assert torch.equal(best, best_of_n(values))


def test_the_product_with_zeros_has_exact_gradients() -> None:
    scores = torch.tensor([0.0, 0.5, 0.5, 0.0, 0.0, 2.0], requires_grad=True)
    segment_product(scores, torch.tensor([0, 3, 6])).sum().backward()
    assert scores.grad.tolist() == [0.25, 0, 0, 0, 0, 0]


def test_the_first_of_equals_wins() -> None:
    assert best_of_n(torch.tensor([[0.5, 0.9, 0.9], [0.1, 0.1, 0.1]])).tolist() == [1, 0]
    scores = torch.tensor([0.4, 0.2, 0.2, 0.4], requires_grad=True)
    segment_min(scores, torch.tensor([0, 4])).backward()
    assert scores.grad.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: segment_min(torch.rand(3), torch.tensor([0, 0, 3])), "offsets: .*an empty segment"),
    (lambda: segment_mean(torch.rand(3, 1), OFFSETS), "scores: expected"),
    (lambda: best_of_n(torch.tensor([[0.1, float("nan")]])), "scores: expected numbers, found NaN"),
    (lambda: segment_min(torch.tensor([0.1, float("nan"), 0.2]), torch.tensor([0, 3])), "found NaN at index .1"),
    (lambda: segment_last(torch.tensor([float("nan"), 0.2]), torch.tensor([0, 2])), "found NaN at index .0"),
    (lambda: best_of_n(torch.rand(1, 1025)), "candidates: expected between 1 and 1024, found 1025"),
    (lambda: pool_best(torch.rand(7), OFFSETS, 2), "offsets: expected a multiple of 2 solutions, found 3"),
    (lambda: pool_best(torch.rand(7), OFFSETS, 3, "sum"), "how: expected one of min, mean, product, last"),
])
def test_refusals(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        call()
