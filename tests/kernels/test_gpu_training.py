"""Layouts, trainer and scorer on a GPU: the same model as on the CPU, one bfloat16 step in each layout."""

from pathlib import Path

import pytest
import torch

from erprm import PRMConfig, PRMScorer, PRMTrainer
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
