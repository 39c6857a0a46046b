"""PRMTrainer on one CPU: it learns, divides steps without a trace, resumes bit for bit, stops early, takes adapters."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from prm.rows_of_steps import rows
from transformers import AutoModelForTokenClassification, AutoTokenizer

from erprm.cli import main
from erprm.errors import InputError
from erprm.prm.model import PRM
from erprm.prm.rows.tokens import encode_row
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.encode import encode_dataset
from erprm.prm.training.trainer import PRMTrainer
from erprm.rows import write_rows

TRAIN, HELD_OUT = rows(24, 4), rows(6, 4, seed=1)


def trainer(folder: Path, model: Any = None, train: Any = TRAIN, **options: Any) -> PRMTrainer:
    """A quiet trainer of a tiny model on 96 rows."""
    settings = {"per_device_train_batch_size": 16, "num_train_epochs": 1, "learning_rate": 3e-3, "report_to": "none",
                "disable_tqdm": True, "logging_steps": 1000, "save_strategy": "no", "max_grad_norm": 0.0, **options}
    peft_config = settings.pop("peft_config", None)
    return PRMTrainer(model or tiny.llama(), PRMConfig(str(folder), **settings), train, HELD_OUT,
                      processing_class=tiny.tokenizer(), peft_config=peft_config)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("options", [{"loss": "pair"}, {"loss": "vocab"}, {"loss": "head", "target": "soft"},
                                     {"loss": "beta_binomial"}, {"layout": "shared"}, {"layout": "packed"}])
def test_training_separates_good_steps_from_bad(options: dict[str, str], tmp_path: Path) -> None:
    run = trainer(tmp_path, num_train_epochs=6, **options)
    run.train()
    metrics = run.evaluate()
    assert metrics["eval_step_auc"] > 0.8
    assert metrics["eval_best_of_n"] > metrics["eval_mean_of_n"]
    assert {"eval_loss", "eval_brier", "eval_calibration_error"} <= set(metrics)


def test_the_report_and_the_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trainer(tmp_path, max_steps=1)
    run.train()
    assert "rows: 96 read, 96 kept, 0 cut at a step, 0 dropped (none)" in capsys.readouterr().out
    run.save_model(str(tmp_path / "final"))
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path / "final").eval()
    row = encode_row(AutoTokenizer.from_pretrained(tmp_path / "final"), run.tokens, TRAIN[0].prompt, TRAIN[0].steps)
    ids, tags = torch.from_numpy(row.ids)[None], torch.from_numpy(row.tag_positions)
    torch.testing.assert_close(stock(ids).logits[0, tags].softmax(-1)[:, 1], run.model.eval()(ids, tags).scores)


@pytest.mark.parametrize("options", [{}, {"loss": "vocab"}, {"layout": "shared"}])
def test_micro_batches_divide_a_step_without_a_trace(options: dict[str, str], tmp_path: Path) -> None:
    """SGD's update is the gradient: four micro-batches of 4 rows equal one of 16, steps weighing alike."""
    plain = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_steps": 2, **options}
    whole = trainer(tmp_path, **plain)
    logged = whole.train().training_loss
    parts = trainer(tmp_path, per_device_train_batch_size=4, gradient_accumulation_steps=4, **plain)
    assert parts.train().training_loss == pytest.approx(logged, abs=1e-6)
    torch.testing.assert_close(weights(parts.model), weights(whole.model), atol=1e-5, rtol=0)


def test_a_step_weighs_its_rows_however_it_is_divided(tmp_path: Path) -> None:
    plain = {"optim": "sgd", "learning_rate": 0.1, "lr_scheduler_type": "constant", "max_steps": 1}
    data = [dataclasses.replace(TRAIN[0], weight=0.6), dataclasses.replace(TRAIN[1], weight=0.0),
            *(dataclasses.replace(row, weight=0.3) for row in TRAIN[2:16])]
    twice = trainer(tmp_path, train=[TRAIN[0], TRAIN[0], *TRAIN[2:16]], **plain)
    twice.train()
    for batch in (15, 5):
        run = trainer(tmp_path, train=data, per_device_train_batch_size=batch,
                      gradient_accumulation_steps=15 // batch, **plain)
        run.train()
        torch.testing.assert_close(weights(run.model), weights(twice.model), atol=1e-6, rtol=0)
        assert run.evaluate()["eval_loss"] == pytest.approx(twice.evaluate()["eval_loss"], abs=1e-6)
    assert "weights of rows: 0.3 to 0.6, 4.8 in all" in str(run.report)
    assert run.report.dropped == {"of weight 0": 1}


def test_a_run_resumed_in_the_middle_continues_bit_for_bit(tmp_path: Path) -> None:
    options = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 4, "save_total_limit": 5,
               "max_grad_norm": 1.0}
    whole = trainer(tmp_path / "whole", **options)
    whole.train()
    again = trainer(tmp_path / "again", model=tiny.llama(seed=9), **options)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-8"))  # in the second epoch
    assert torch.equal(weights(again.model), weights(whole.model))


def test_early_stopping_watches_the_step_auc(tmp_path: Path) -> None:
    run = trainer(tmp_path, learning_rate=0.0, num_train_epochs=9, eval_strategy="epoch", save_strategy="epoch",
                  early_stopping_patience=2, save_total_limit=1)
    run.train()
    assert run.state.epoch == 3
    assert run.args.metric_for_best_model == "step_auc"
    assert run.state.best_metric == pytest.approx(run.evaluate()["eval_step_auc"])


def test_adapters_train_and_merge_into_a_checkpoint_of_their_own(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    run = trainer(tmp_path, num_train_epochs=6, peft_config=peft.LoraConfig(r=4, target_modules="all-linear"))
    base = run.model.get_base_model().model.embed_tokens.weight.clone()
    run.train()
    expected = run.evaluate()["eval_step_auc"]
    assert expected > 0.8
    run.save_merged(tmp_path / "merged")
    merged = PRM.load(tmp_path / "merged")
    assert torch.equal(merged.model.embed_tokens.weight, base)
    again = PRMTrainer(merged, run.args, TRAIN, HELD_OUT, processing_class=tiny.tokenizer())
    assert again.evaluate()["eval_step_auc"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("options", [{"gradient_checkpointing": True}, {"torch_compile": True, "torch_compile_backend":
                                                                         "aot_eager"}])
def test_checkpointing_and_compiling_change_nothing(options: dict[str, Any], tmp_path: Path) -> None:
    plain = {"optim": "sgd", "learning_rate": 1.0, "max_steps": 2}
    expected, run = trainer(tmp_path, **plain), trainer(tmp_path, **plain, **options)
    expected.train()
    run.train()
    torch.testing.assert_close(weights(run.model), weights(expected.model), atol=1e-5, rtol=0)


def test_bf16_training_learns(tmp_path: Path) -> None:
    run = trainer(tmp_path, num_train_epochs=6, bf16=True, use_cpu=not torch.cuda.is_available())
    run.train()
    assert run.evaluate()["eval_step_auc"] > 0.8


def test_trl_rows_train_as_they_are(tmp_path: Path) -> None:
    records = [{"prompt": row.prompt, "completions": list(row.steps),
                "labels": [step.startswith("good") for step in row.steps]} for row in TRAIN]
    run = PRMTrainer(tiny.llama(), PRMConfig(str(tmp_path), max_steps=2, report_to="none", disable_tqdm=True), records,
                     processing_class=tiny.tokenizer())
    run.train()
    assert run.target.kind == "labels"


@pytest.mark.parametrize(("options", "message"), [
    ({"layout": "ragged"}, "layout: expected one of auto, padded"),
    ({"max_length": 0}, "max_length: expected at least 1"),
    ({"target": "hardest"}, "target: expected one of"), ({"tag": "abc"}, "tag 'abc': expected exactly one token"),
    ({"loss": "mse"}, "loss: expected one of pair"), ({"estimator": "bayes"}, "estimator: expected one of")])
def test_bad_options_are_refused_before_training(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        trainer(tmp_path, **options)


def test_math_aps_samples_train(data: Path, tmp_path: Path) -> None:
    formats = pytest.importorskip("erprm.formats")
    read = list(formats.read(data / "math_aps" / "samples.jsonl", "math-aps"))
    args = PRMConfig(str(tmp_path), max_steps=2, report_to="none", disable_tqdm=True, max_length=900,
                     per_device_train_batch_size=2)
    run = PRMTrainer(tiny.llama(), args, read, processing_class=tiny.tokenizer())
    before = weights(run.model)
    run.train()
    assert run.report.kept > 0
    assert not torch.equal(before, weights(run.model))


def test_the_command_trains_saves_and_says_where(tmp_path: Path, model_dir: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "train.parquet", TRAIN)
    write_rows(tmp_path / "eval.jsonl", HELD_OUT)
    out = tmp_path / "prm"
    call = ["train", "--model", str(model_dir), "--data", str(tmp_path / "train.parquet"), "--eval",
            str(tmp_path / "eval.jsonl"), "--out", str(out), "--epochs", "1", "--evaluations", "1", "--eta", "10"]
    assert main([*call, "--dry-run"]) == 0
    assert "would train 6 micro-batches" in capsys.readouterr().out
    assert main(call) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"wrote {out}")
    assert PRM.load(out).spec.targets == {"kind": "er", "eta": 10.0, "estimator": "plug-in"}
    assert (out / "metrics.json").is_file()
    history = json.loads((out / "history.json").read_text())
    assert {entry["step"] for entry in history if "eval_loss" in entry} == {history[-1]["step"]}, "one evaluation"
    assert main([*call[:3], "--data", str(tmp_path / "none.jsonl"), "--out", str(out)]) == 2
    assert "no such file" in capsys.readouterr().err


def test_encoded_data_is_taken_as_it_is(tmp_path: Path) -> None:
    first = trainer(tmp_path, max_steps=1)
    dataset, _ = encode_dataset(TRAIN, tiny.tokenizer(), first.tokens)
    run = PRMTrainer(tiny.llama(), first.args, dataset, processing_class=tiny.tokenizer())
    first.train()
    run.train()
    assert torch.equal(weights(run.model), weights(first.model))


def test_ligers_losses_stay_off(tmp_path: Path) -> None:
    """Its fused vocabulary loss would take the place of the model's forward pass, and so of the step loss."""
    config = PRMConfig(str(tmp_path), report_to="none", use_liger_kernel=True,
                       liger_kernel_config={"swiglu": False, "fused_linear_cross_entropy": True})
    assert config.liger_kernel_config == {"rope": True, "rms_norm": True, "swiglu": False, "cross_entropy": False,
                                          "fused_linear_cross_entropy": False}
