"""Layouts, trainer and scorer on a GPU: the same model as on the CPU, one bfloat16 step in each layout."""

from pathlib import Path

import pytest
import torch

from erprm import PRMConfig, PRMScorer, PRMTrainer
from erprm.prm.attention import blocks, spans
from erprm.prm.spec import PRMSpec
from erprm.rows import StepRow

pytestmark = pytest.mark.gpu
ROWS = [StepRow("What is 1 + 1?", (f"Add {i}.", "It is 2.", f"So {i}."), successes=(i % 5, 2, 4), trials=(4, 4, 4),
                problem_id=str(i // 4)) for i in range(16)]


@pytest.mark.parametrize("layout", ["padded", "packed", "shared"])
def test_a_step_in_each_layout_and_the_scores_of_what_it_saved(layout: str, model_dir: Path, tmp_path: Path) -> None:
    config = PRMConfig(output_dir=str(tmp_path / "run"), max_steps=2, per_device_train_batch_size=8, layout=layout,
                       bf16=True, report_to="none", save_strategy="no")
    trainer = PRMTrainer(str(model_dir), config, ROWS)
    result = trainer.train()
    assert torch.isfinite(torch.tensor(result.training_loss))
    trainer.save_model(str(tmp_path / "prm"))
    rows = [(row.prompt, list(row.steps)) for row in ROWS[:4]]
    here = PRMScorer(tmp_path / "prm", device="cuda").score(rows)
    there = PRMScorer(tmp_path / "prm", device="cpu").score(rows)
    for ours, expected in zip(here, there, strict=True):
        assert torch.allclose(torch.as_tensor(ours).float(), torch.as_tensor(expected).float(), atol=0.05)


def test_scoring_copies_from_pinned_memory(model_dir: Path) -> None:
    """A copy from pageable memory waits until the device has it, and the next batch is not prepared meanwhile."""
    scorer = PRMScorer(model_dir, form="causal-lm", device="cuda", spec=PRMSpec(loss="vocab"))
    rows = [(row.prompt, list(row.steps)) for row in ROWS]
    scorer.score(rows)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        scorer.score(rows)
    copies = [event.key for event in profiler.key_averages() if "Memcpy HtoD" in event.key]
    assert copies
    assert not [name for name in copies if "Pageable" in name]


def test_flex_attention_over_spans_is_the_dense_mask() -> None:
    """Lengths that differ, forward and backward, through the one compiled entry."""
    torch.manual_seed(0)
    for size in (1, 2, 3):
        length = size * blocks.MULTIPLE
        ends = (torch.arange(1, length + 1, dtype=torch.int32) + 9).clamp_max(length).expand(2, -1)
        table = torch.from_numpy(blocks.block_table(ends.numpy())).cuda()
        ends = ends.cuda()
        leaves = [torch.randn(2, heads, length, 64, device="cuda", requires_grad=True) for heads in (4, 2, 2)]
        found = blocks.flex_forward(None, *leaves, blocks.block_mask(table, ends), scaling=0.125)[0].transpose(1, 2)
        expected = torch.nn.functional.scaled_dot_product_attention(
            *leaves, attn_mask=spans.dense_mask(ends), scale=0.125, enable_gqa=True)
        torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)
        for ours, oracle in zip(torch.autograd.grad(found.sum(), leaves), torch.autograd.grad(expected.sum(), leaves),
                                strict=True):
            torch.testing.assert_close(ours, oracle, atol=2e-2, rtol=2e-2)
