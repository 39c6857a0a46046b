"""One model for several etas, and one that says how sure it is: from training to scores, curves and export."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from prm.families import causal
from prm.rows_of_steps import rows
from transformers import AutoModelForTokenClassification

from erprm.cli import main
from erprm.cli.policy_scores import step_scores
from erprm.errors import InputError
from erprm.prm.checkpoints.forms import open_checkpoint
from erprm.prm.export import PROBE, export
from erprm.prm.model import PRM
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.scoring.load import load_scorer
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.spec import PRMSpec
from erprm.prm.training.batches import Collator
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.encode import encode_dataset
from erprm.prm.training.learnt import choose_learnt
from erprm.prm.training.patch import patch
from erprm.prm.training.trainer import PRMTrainer
from erprm.rows import StepRow, read_rows, write_rows
from erprm.values import beta_interval
from erprm.values.spec import TargetSpec

ETAS = (0.5, 2.0, 10.0)
TOKENIZER = tiny.tokenizer()
TOKENS = StepTokens.from_tokenizer(TOKENIZER)
DATASET, _ = encode_dataset(rows(4, 3), TOKENIZER, TOKENS)
EVERY = range(len(DATASET))


def model(etas: Any = 2.0, loss: str = "pair", seed: int = 3, **options: Any) -> PRM:
    """A PRM whose rows are no longer those that it began with."""
    targets = {"kind": "er", "eta": list(etas) if isinstance(etas, tuple) else etas, "estimator": "plug-in"}
    made = PRM.from_base(tiny.llama(), TOKENIZER, PRMSpec(loss=loss, targets=targets, **options))
    torch.manual_seed(seed)
    with torch.no_grad():
        made.score.weight.add_(0.1 * torch.randn_like(made.score.weight))
    return made.eval()


def saved(folder: Path, made: PRM) -> Path:
    made.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    return folder


def learnt(made: PRM, batch: dict[str, Any]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss, and gradients by name."""
    made.zero_grad()
    output = made(**batch)
    output.loss.backward()
    return output.loss.item(), {name: weight.grad.clone() for name, weight in made.named_parameters()}


def alike(one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert one[0] == pytest.approx(other[0], abs=1e-6)
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("etas", [2.0, -3.0, ETAS])
@pytest.mark.parametrize("layout", ["padded", "shared"])
def test_counts_and_rewards_teach_what_their_targets_teach(etas: Any, layout: str) -> None:
    target, made = TargetSpec("er", etas), model(etas)
    expected = learnt(made, Collator(DATASET, target, layout=layout)(EVERY))
    for what in ("counts", "rewards"):
        batch = Collator(DATASET, target, layout=layout, learnt=what)(EVERY)
        assert layout == "shared" or "labels" not in batch
        alike(learnt(made, batch), expected)


def test_several_etas_at_once_are_the_mean_of_separate_losses() -> None:
    whole = model(ETAS)
    loss, gradients = learnt(whole, Collator(DATASET, TargetSpec("er", ETAS), learnt="counts")(EVERY))
    parts = []
    for number, eta in enumerate(ETAS, start=1):
        one = model(eta)
        one.score.weight.data = whole.score.weight.data[[0, number]].clone()
        parts.append(learnt(one, Collator(DATASET, TargetSpec("er", eta), learnt="counts")(EVERY)))
    assert loss == pytest.approx(np.mean([part[0] for part in parts]), abs=1e-6)
    for name, gradient in gradients.items():
        of_parts = [part[1][name] for part in parts]
        if name == "score.weight":
            rows_of = [torch.stack([part[0] for part in of_parts]).sum(0), *(part[1] for part in of_parts)]
            mean = torch.stack(rows_of) / len(ETAS)
        else:
            mean = torch.stack(of_parts).mean(0)
        torch.testing.assert_close(gradient, mean, atol=1e-6, rtol=0, msg=name)


def test_steps_that_share_a_tag_and_their_counts_are_one_place_of_weight() -> None:
    """Rows of a problem that begin alike and were labelled together: counts stay counts."""
    alike_rows = [StepRow("q?", ("good start", f"bad {n}"), successes=(5, 0), trials=(8, 0), outcome=0.0,
                          problem_id="p") for n in range(3)]
    dataset, _ = encode_dataset(alike_rows, TOKENIZER, TOKENS)
    target = TargetSpec("er", ETAS)
    shared = Collator(dataset, target, layout="shared", learnt="counts")(range(3))
    assert shared["successes"].tolist() == [5, 0, 0, 0]
    assert shared["weights"].tolist() == [3, 1, 1, 1]
    assert len(shared["tag_of_step"]) == 6
    made = model(ETAS)
    alike(learnt(made, shared), learnt(made, Collator(dataset, target, learnt="counts")(range(3))))


def test_what_is_handed_over() -> None:
    er = TargetSpec("er", ETAS)
    assert choose_learnt(DATASET, er, "pair") == "counts"
    assert choose_learnt(DATASET, TargetSpec("er", ETAS, "jackknife"), "pair") == "targets"
    assert choose_learnt(DATASET, TargetSpec("soft"), "head") == "targets"
    assert choose_learnt(DATASET, TargetSpec("er", 2.0), "vocab") == "targets"
    assert choose_learnt(DATASET, TargetSpec("er", 2.0), "beta_binomial") == "draws"
    graded, _ = encode_dataset([StepRow("q?", ("a", "b"), successes=(1, 0), trials=(4, 0), outcome=0.25)], TOKENIZER,
                               TOKENS)
    assert choose_learnt(graded, er, "pair") == "rewards"
    batch = Collator(graded, er, learnt="rewards")([0])
    assert batch["rewards"].tolist() == [1, 0, 0, 0, 0.25]
    assert batch["offsets"].tolist() == [0, 4, 5]
    made = model(ETAS)
    alike(learnt(made, batch), learnt(made, Collator(graded, er)([0])))


def config(folder: Path, **options: Any) -> PRMConfig:
    return PRMConfig(str(folder), per_device_train_batch_size=16, learning_rate=3e-3, report_to="none",
                     disable_tqdm=True, save_strategy="no", max_grad_norm=0.0, **options)


def test_one_run_learns_every_eta_and_what_it_saves_scores_each(tmp_path: Path) -> None:
    run = PRMTrainer(tiny.llama(), config(tmp_path, eta=list(ETAS), num_train_epochs=6), rows(24, 4),
                     rows(6, 4, seed=1), processing_class=TOKENIZER)
    run.train()
    metrics = run.evaluate()
    assert all(metrics[f"eval_step_auc_eta_{eta}"] > 0.8 for eta in ("0.5", "2", "10"))
    assert metrics["eval_step_auc"] == pytest.approx(np.mean([metrics[f"eval_step_auc_eta_{eta}"]
                                                              for eta in ("0.5", "2", "10")]))
    assert 0.0 <= metrics["eval_eta_violations"] <= 1.0
    run.save_model(str(tmp_path / "prm"))
    stock = AutoModelForTokenClassification.from_pretrained(tmp_path / "prm").eval()
    assert stock.config.id2label == {0: "-", 1: "+ eta=0.5", 2: "+ eta=2", 3: "+ eta=10"}
    assert json.loads((tmp_path / "prm" / "erprm.json").read_text())["targets"]["eta"] == list(ETAS)

    scorer = PRMScorer(tmp_path / "prm", device="cpu", every=True)
    assert scorer.checkpoint.columns == ("scores_eta_0.5", "scores_eta_2", "scores_eta_10")
    texts = [(row.prompt, row.steps) for row in rows(3, 4, seed=2)]
    found = scorer.score(texts)
    for row, scores in zip(scorer.checkpoint.convention.encode(texts), found, strict=True):
        logits = stock(torch.from_numpy(row.ids)[None]).logits[0, torch.from_numpy(row.tag_positions)]
        expected = (logits[:, 1:] - logits[:, :1]).sigmoid().detach().numpy()
        np.testing.assert_allclose(scores, expected, atol=1e-5)
    for column, eta in enumerate(ETAS):
        alone = PRMScorer(tmp_path / "prm", device="cpu", eta=eta).score(texts)
        np.testing.assert_allclose(np.concatenate(alone), np.concatenate(found)[:, column], atol=1e-6)
    again = PRMTrainer(tmp_path / "prm", run.args, rows(6, 4), rows(6, 4, seed=1), processing_class=TOKENIZER)
    assert again.evaluate()["eval_step_auc_eta_2"] == pytest.approx(metrics["eval_step_auc_eta_2"], abs=1e-6)


def test_micro_batches_of_counts_divide_a_step_without_a_trace(tmp_path: Path) -> None:
    plain = {"optim": "sgd", "lr_scheduler_type": "constant", "max_steps": 2, "eta": list(ETAS)}
    runs = [PRMTrainer(tiny.llama(), PRMConfig(str(tmp_path), report_to="none", disable_tqdm=True, learning_rate=0.1,
                                               save_strategy="no", layout=layout, per_device_train_batch_size=size,
                                               gradient_accumulation_steps=16 // size, **plain),
                       rows(8, 4), processing_class=TOKENIZER) for size in (16, 4) for layout in ("padded", "shared")]
    logged = [run.train().training_loss for run in runs]
    assert logged[2:] == pytest.approx(logged[:2], abs=1e-6)
    for whole, parts in zip(runs[:2], runs[2:], strict=True):
        for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_commands_train_score_evaluate_and_export(tmp_path: Path, model_dir: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "train.parquet", rows(4, 4))
    write_rows(tmp_path / "pool.parquet", rows(4, 4, seed=1))
    prm, pool = str(tmp_path / "prm"), str(tmp_path / "pool.parquet")
    assert main(["train", "--model", str(model_dir), "--data", str(tmp_path / "train.parquet"), "--out", prm,
                 "--eta", "0.5", "2", "10", "--max-steps", "1"]) == 0
    for suffix in (".parquet", ".jsonl"):
        assert main(["score", "--model", prm, "--rows", pool, "--out", str(tmp_path / f"every{suffix}")]) == 0
    first = next(read_rows(tmp_path / "every.parquet"))
    assert first.scores is None
    assert list(first.score_columns) == ["scores_eta_0.5", "scores_eta_2", "scores_eta_10"]
    np.testing.assert_allclose(next(read_rows(tmp_path / "every.jsonl")).score_columns["scores_eta_2"],
                               first.score_columns["scores_eta_2"], rtol=1e-6)
    one = str(tmp_path / "one.parquet")
    assert main(["score", "--model", prm, "--rows", pool, "--out", one, "--eta", "2"]) == 0
    np.testing.assert_allclose(next(read_rows(one)).scores, first.score_columns["scores_eta_2"], rtol=1e-6)

    assert main(["evaluate", "--scored", f"prm={tmp_path / 'every.parquet'}", f"one={one}", "--out",
                 str(tmp_path / "report")]) == 0
    curves = json.loads((tmp_path / "report" / "evaluation.json").read_text())["best_of_n"]
    assert {"prm eta=0.5", "prm eta=2", "prm eta=10", "one"} < set(curves)
    assert curves["prm eta=2"] == curves["one"]

    capsys.readouterr()
    assert main(["export", "--model", prm, "--out", str(tmp_path / "out"), "--to", "classification"]) == 2
    assert "eta: expected one of 0.5, 2, 10, which" in capsys.readouterr().err
    assert main(["export", "--model", prm, "--out", str(tmp_path / "out"), "--eta", "10"]) == 0
    assert PRMSpec.load(tmp_path / "out").etas == (10.0,)
    alone = np.concatenate(PRMScorer(tmp_path / "out", device="cpu").score(PROBE))
    np.testing.assert_allclose(alone, np.concatenate(PRMScorer(prm, device="cpu", eta=10.0).score(PROBE)), atol=1e-5)


def test_policies_learn_from_the_eta_that_is_named(tmp_path: Path, model_dir: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    prm, pool = str(saved(tmp_path / "prm", model(ETAS))), rows(3, 4)
    for eta in ETAS:
        for found, expected in zip(step_scores(pool, prm, eta), PRMScorer(prm, device="cpu", eta=eta).score(pool),
                                   strict=True):
            np.testing.assert_array_equal(found, expected)
    solutions, problems = str(tmp_path / "pool.jsonl"), str(tmp_path / "problems.jsonl")
    write_rows(solutions, pool)
    Path(problems).write_text('{"id": "0", "question": "0+0?", "answer": "0"}\n')
    for command, asked in (("raft", ["--solutions", solutions]), ("raft", ["--problems", problems]),
                           ("dpo", ["--solutions", solutions]), ("grpo", ["--problems", problems])):
        words = [command, "--policy", str(model_dir), "--out", str(tmp_path / "out"), *asked, "--prm", prm]
        assert main(words) == 2
        assert "eta: expected one of 0.5, 2, 10, which" in capsys.readouterr().err
        assert main([*words, "--prm-eta", "3"]) == 2
        assert "eta: expected of 0.5, 2, 10" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_a_family_without_a_class_keeps_its_rows_beside_it(tmp_path: Path) -> None:
    made = PRM.from_base(causal("olmo2"), TOKENIZER, PRMSpec(targets={"eta": list(ETAS)})).eval()
    with torch.no_grad():
        made.score.weight.add_(torch.randn_like(made.score.weight))
    prm = saved(tmp_path / "prm", made)
    scorer = PRMScorer(prm, device="cpu", every=True)
    assert scorer.checkpoint.form == "causal-rows"
    batch = Collator(DATASET, TargetSpec("er", 2.0))([0])
    expected = PRM.load(prm, TOKENIZER)(batch["input_ids"], batch["tag_positions"]).scores.detach()
    row = rows(4, 3)[0]
    np.testing.assert_allclose(scorer.score([(row.prompt, row.steps)])[0], expected, atol=1e-5)
    assert export(prm, tmp_path / "out", "causal-lm", eta=0.5).difference <= 1e-5


@pytest.mark.parametrize(("options", "message"), [
    ({"eta": []}, "eta: expected at least one number, found none"),
    ({"eta": [2.0, 0.5, 2.0]}, "eta: expected different numbers, found 2 twice"),
    ({"eta": [2.0, float("nan")]}, "eta: expected a finite number"),
    ({"eta": [0.5, 2.0], "target": "soft"}, "eta: expected one number with the target soft"),
    ({"eta": [0.5, 2.0], "loss": "vocab"}, "eta: expected one number with the loss vocab, found 2"),
    ({"eta": [0.5, 2.0], "loss": "beta_binomial"}, "eta: expected one number with the loss beta_binomial"),
    ({"concentration": "learnt"}, "concentration: expected a number with the loss pair, found learnt"),
    ({"concentration": "sure", "loss": "beta_binomial"}, "expected a positive number or learnt, found 'sure'")])
def test_bad_options_are_one_line(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        PRMTrainer(tiny.llama(), config(tmp_path, **options), rows(2, 2), processing_class=TOKENIZER)


def test_an_eta_that_the_model_lacks_names_those_it_has(tmp_path: Path) -> None:
    prm = saved(tmp_path / "prm", model(ETAS))
    with pytest.raises(InputError, match=r"eta: expected of 0\.5, 2, 10, which .*prm was trained for, found 3"):
        PRMScorer(prm, eta=3.0)
    with pytest.raises(InputError, match=r"eta: expected one of 0\.5, 2, 10, .* found none; name it, or write"):
        open_checkpoint(prm)
    with pytest.raises(InputError, match="vllm scores causal language models"):
        load_scorer("vllm", prm, eta=2.0)
    with pytest.raises(InputError, match="expected the head that the model was trained with"):
        PRM.for_training(prm, TOKENIZER, PRMSpec(targets={"eta": 2.0}))
    single = saved(tmp_path / "single", model(2.0))
    assert len(PRMScorer(single, eta=2.0, device="cpu").score(PROBE)) == len(PROBE)
    with pytest.raises(InputError, match="eta: expected of 2, which"):
        PRMScorer(single, eta=0.5)


def test_rewards_that_are_no_rewards_name_their_row(tmp_path: Path, model_dir: Path,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    for number, wrong in enumerate(("1.5", "NaN")):
        data = tmp_path / f"{number}.jsonl"
        data.write_text('{"prompt": "q", "steps": ["a"], "rewards": [[0.5]], "finished": false}\n'
                        f'{{"prompt": "q", "steps": ["a"], "rewards": [[{wrong}]], "finished": false}}\n')
        assert main(["train", "--model", str(model_dir), "--data", str(data), "--out", str(tmp_path / "prm")]) == 2
        assert f"{number}.jsonl:2: rewards: expected numbers in [0, 1]" in capsys.readouterr().err


def test_patch_learns_several_etas() -> None:
    prm = model(ETAS)
    expected = prm(**Collator(DATASET, TargetSpec("er", ETAS))(EVERY))
    stock = AutoModelForTokenClassification.from_config(prm.config)
    stock.load_state_dict(prm.state_dict())
    patch(stock)
    batch = Collator(DATASET, TargetSpec("er", ETAS))(EVERY)
    ids = batch["input_ids"]
    labels = torch.full((ids.numel(), len(ETAS)), -100.0).index_copy(0, batch["tag_positions"], batch["labels"])
    output = stock(input_ids=ids, labels=labels.view(*ids.shape, len(ETAS)),
                   num_items_in_batch=batch["labels"].numel())
    torch.testing.assert_close(output.loss, expected.loss, atol=1e-6, rtol=0)


# ---- a learnt concentration ----

def test_over_dispersed_counts_teach_their_concentration(tmp_path: Path) -> None:
    """Success rates are drawn from Beta(mu s, (1 - mu) s) with s = 5 around a mean that the step's word says."""
    draw, concentration, trials = np.random.default_rng(0), 5.0, 32
    data = []
    for number in range(512):
        mean = 0.7 if number % 2 else 0.3
        rate = draw.beta(mean * concentration, (1 - mean) * concentration)
        data.append(StepRow("q?", ("good" if number % 2 else "bad",), successes=(int(draw.binomial(trials, rate)),),
                            trials=(trials,), finished=False, problem_id=f"p{number}"))
    run = PRMTrainer(tiny.llama(), config(tmp_path, loss="beta_binomial", concentration="learnt", num_train_epochs=4),
                     data, processing_class=TOKENIZER)
    run.train()
    run.save_model(str(tmp_path / "prm"))
    batch = Collator(encode_dataset(data[:2], TOKENIZER, TOKENS)[0], TargetSpec(), learnt="draws")([0, 1])
    again = PRM.load(tmp_path / "prm", TOKENIZER).eval()
    assert again.config.id2label == {0: "-", 1: "+", 2: "concentration"}
    output = again(batch["input_ids"], batch["tag_positions"])
    np.testing.assert_allclose(output.concentration.detach(), concentration, rtol=0.2)
    np.testing.assert_allclose(output.scores.detach(), [0.3, 0.7], atol=0.06)

    write_rows(tmp_path / "rows.jsonl", data[:2])
    assert main(["score", "--model", str(tmp_path / "prm"), "--rows", str(tmp_path / "rows.jsonl"), "--out",
                 str(tmp_path / "scored.parquet")]) == 0
    for row, score, kappa in zip(read_rows(tmp_path / "scored.parquet"), output.scores.tolist(),
                                 output.concentration.tolist(), strict=True):
        low, high = beta_interval(score, kappa)
        assert row.scores == pytest.approx([score], abs=1e-5)
        assert row.score_columns["score_low"] == pytest.approx([float(low)], abs=1e-4)
        assert row.score_columns["score_high"] == pytest.approx([float(high)], abs=1e-4)
        assert low < score < high


def test_intervals_hold_what_they_say() -> None:
    draw = np.random.default_rng(1)
    mean, concentration = np.full(4000, 0.3), np.full(4000, 6.0)
    low, high = beta_interval(mean, concentration)
    rates = draw.beta(mean * concentration, (1 - mean) * concentration)
    assert 0.88 < np.mean((low <= rates) & (rates <= high)) < 0.92
    for edge in (0.0, 1.0):
        low, high = beta_interval(edge, 8.0)
        assert float(low) == pytest.approx(edge, abs=1e-6)
        assert float(high) == pytest.approx(edge, abs=1e-6)


def test_a_learnt_concentration_stays_behind_where_two_rows_are_exported(tmp_path: Path) -> None:
    prm = saved(tmp_path / "prm", model(loss="beta_binomial", concentration="learnt"))
    assert export(prm, tmp_path / "out", "classification").difference <= 1e-5
    assert PRMSpec.load(tmp_path / "out").concentration == 8.0
    np.testing.assert_allclose(np.concatenate(PRMScorer(tmp_path / "out", device="cpu").score(PROBE)),
                               np.concatenate(PRMScorer(prm, device="cpu", every=True).score(PROBE))[:, 0], atol=1e-5)


# ---- bench/etas.py ----

def test_the_bench_of_one_run_against_several_goes_on_where_it_stopped(tmp_path: Path, model_dir: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    demo = tmp_path / "demo"
    (demo / "models").mkdir(parents=True)
    (demo / "models" / "policy").symlink_to(model_dir)
    write_rows(demo / "training.parquet", rows(4, 4))
    write_rows(demo / "pool.parquet", rows(5, 4, seed=1))
    out = tmp_path / "result.json"
    script = Path(__file__).parents[2] / "bench" / "etas.py"
    monkeypatch.setattr("sys.argv", [str(script), "--demo", str(demo), "--out", str(tmp_path / "runs"), "--output",
                                     str(out), "--etas", "0.5", "2", "--steps", "1"])
    monkeypatch.syspath_prepend(str(script.parent))
    results = []
    for _ in range(2):
        runpy.run_path(str(script), run_name="__main__")
        results.append(json.loads(out.read_text()))
    assert results[1]["best_of_n"] == results[0]["best_of_n"]
    assert set(results[0]["best_of_n"]) == {"0.5", "2"}
    assert all(entry["problems"] == 5 and entry["low"] <= entry["difference"] <= entry["high"]
               for entry in results[0]["best_of_n"].values())
    assert set(results[0]["seconds"][0]) == {"together", "eta=0.5", "eta=2"}
