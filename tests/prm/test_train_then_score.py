"""What PRMTrainer has trained and saved, PRMScorer scores as the trained model itself does."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from prm.rows_of_steps import rows

from erprm.formats import Options, read
from erprm.prm.rows.tokens import encode_row
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.trainer import PRMTrainer
from erprm.rows import StepRow


def train_then_score(folder: Path, data: list[StepRow], scored: list[StepRow], **options: object) -> None:
    """Train, save, and compare the saved model's scores with those of the model in memory, one row at a time."""
    arguments = PRMConfig(str(folder), per_device_train_batch_size=4, learning_rate=1e-2, report_to="none",
                          disable_tqdm=True, save_strategy="no", **options)
    run = PRMTrainer(tiny.llama(), arguments, data, processing_class=tiny.tokenizer())
    before = [parameter.detach().clone() for parameter in run.model.parameters()]
    run.train()
    assert run.state.global_step == options["max_steps"]
    assert any(not torch.equal(a, b) for a, b in zip(before, run.model.parameters(), strict=True))
    run.save_model(str(folder / "prm"))
    found = PRMScorer(folder / "prm", device="cpu").score(scored)
    model = run.model.eval()
    for row, scores in zip(scored, found, strict=True):
        encoded = encode_row(tiny.tokenizer(), run.tokens, row.prompt, row.steps)
        with torch.no_grad():
            own = model(torch.from_numpy(encoded.ids)[None], torch.from_numpy(encoded.tag_positions)).scores
        assert scores.shape == (len(row.steps),)
        np.testing.assert_allclose(scores, own.numpy(), atol=1e-5)


@pytest.mark.parametrize("loss", ["pair", "vocab", "head"])
def test_the_scorer_gives_the_trained_models_scores(loss: str, tmp_path: Path) -> None:
    target = {"target": "soft"} if loss == "head" else {}
    train_then_score(tmp_path, rows(4, 3), rows(3, 4, seed=1), loss=loss, max_steps=3, **target)


def test_math_aps_samples_train_and_score(data: Path, tmp_path: Path) -> None:
    """The published samples with their Monte-Carlo counts, as `erprm convert` reads them."""
    source = data / "math_aps" / "samples.jsonl"
    read_rows = list(read(source, "math-aps", strict=True, options=Options(trials=32)))
    short = sorted(read_rows, key=lambda row: len(row.prompt) + sum(map(len, row.steps)))[:16]
    assert all(set(row.trials or ()) == {32} for row in short)
    train_then_score(tmp_path, short, short[:6], max_steps=2, target="soft")
