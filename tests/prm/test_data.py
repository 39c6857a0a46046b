"""Rows encoded for training: targets from counts, what is cut and dropped, and the report that says so."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tiny
from prm.rows_of_steps import rows

from erprm.cli import main
from erprm.errors import InputError
from erprm.prm.doctor.checks import diagnose
from erprm.prm.rows.tokens import StepTokens, encode_row
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.encode import encode_dataset
from erprm.prm.training.inputs import as_trl_dataset, rows_of
from erprm.prm.training.trainer import PRMTrainer
from erprm.rows import StepRow, write_rows
from erprm.values import fit_prior, fit_rates, row_targets
from erprm.values.spec import TargetSpec

TOKENIZER = tiny.tokenizer()
TOKENS = StepTokens.from_tokenizer(TOKENIZER)


@pytest.mark.parametrize("spec", [
    TargetSpec("er", 2.0), TargetSpec("er", -3.0, "jackknife"), TargetSpec("er", 0.0), TargetSpec("soft"),
    TargetSpec("er", 5.0, "beta", prior=(0.5, 0.5)), TargetSpec("hard", threshold=0.5), TargetSpec("outcome")])
def test_targets_of_the_dataset_are_those_of_each_row(spec: TargetSpec) -> None:
    data = rows()
    dataset, _ = encode_dataset(data, TOKENIZER, TOKENS, target=spec)
    expected = np.concatenate([row_targets(row, spec.kind, spec.eta, spec.estimator, threshold=spec.threshold)
                               for row in data])
    np.testing.assert_array_equal(dataset.target_values(spec), expected)


@pytest.mark.parametrize("estimator", ["beta", "empirical-bayes"])
def test_a_prior_is_fitted_to_the_unfinished_steps_alone(estimator: str) -> None:
    # Rows end with a step whose value is their outcome; that is no draw of a success rate.
    data = [StepRow(f"q{i}", ("a", "b", "c"), outcome=1.0, successes=(i % 3, 4 * (i % 2), 1), trials=(8, 4, 1))
            for i in range(40)]
    spec = TargetSpec("er", 2.0, estimator)
    dataset, report = encode_dataset(data, TOKENIZER, TOKENS, target=spec)
    k, n = np.array([row.successes[:2] for row in data]), np.array([row.trials[:2] for row in data])
    prior = fit_prior(k, n) if estimator == "beta" else fit_rates(k.ravel(), n.ravel(), np.tile([1, 2], 40))
    expected = np.concatenate([row_targets(row, "er", 2.0, estimator, prior=prior) for row in data])
    np.testing.assert_allclose(dataset.target_values(spec), expected, rtol=1e-6)
    np.testing.assert_allclose(np.concatenate([spec.fitted_to_rows(data).of_row(row) for row in data]), expected,
                               rtol=1e-6)
    assert "prior of success rates, fitted to the unfinished steps" in str(report)
    fitted = dataset.fitted(spec)
    assert fitted.fitted(dataset.steps) is fitted


def test_a_long_row_is_cut_behind_a_step_and_its_outcome_is_not_given_to_the_cut_end() -> None:
    row = StepRow("q", ("good 1", "bad 2", "good 3"), successes=(4, 1, 0), trials=(8, 8, 0), outcome=1.0)
    whole = encode_row(TOKENIZER, TOKENS, row.prompt, row.steps)
    dataset, report = encode_dataset([row], TOKENIZER, TOKENS, max_length=int(whole.tag_positions[1]) + 1)
    assert report.cut == 1
    np.testing.assert_array_equal(dataset.ids, whole.ids[: whole.tag_positions[1] + 1])
    np.testing.assert_allclose(dataset.target_values(TargetSpec("soft")), [0.5, 0.125])


def test_every_row_is_accounted_for() -> None:
    data = rows(2, 2)
    data += [StepRow("q", ("a ки b",), successes=(1,), trials=(2,)), StepRow("q", ("c",), successes=(0,), trials=(2,))]
    unusable = [StepRow("q", ("", " "), successes=(1, 1), trials=(2, 2)), StepRow("q", ("a",)),
                StepRow("q" * 600, ("a",), successes=(1,), trials=(2,))]
    dataset, report = encode_dataset(data + unusable, TOKENIZER, TOKENS)
    assert (report.read, report.kept, report.cut) == (9, 6, 0)
    assert report.dropped == {"without any text in their steps": 1, "without counts": 1, "longer than 512 tokens": 1}
    assert report.labelled == report.steps == sum(report.histogram) == sum(len(row.steps) for row in data)
    assert report.tokens == len(dataset.ids)
    assert "9 read, 6 kept, 0 cut at a step, 3 dropped" in str(report)
    assert "\n1 rows hold the step tag in their own text, where it is spelled in other tokens" in str(report)


def test_too_long_rows_are_dropped_when_asked() -> None:
    data = [StepRow("q", ("a", "b" * 40), successes=(1, 1), trials=(2, 2)), StepRow("q", ("a",), (0.5,), (1,), (2,))]
    dataset, report = encode_dataset(data, TOKENIZER, TOKENS, max_length=20, too_long="drop")
    assert len(dataset) == 1
    assert report.dropped == {"longer than 20 tokens": 1}


def test_strict_names_the_row() -> None:
    with pytest.raises(InputError, match="row 2: without counts"):
        encode_dataset([rows()[0], StepRow("q", ("a",))], TOKENIZER, TOKENS, strict=True)


def test_nothing_left_is_an_error_that_says_why() -> None:
    with pytest.raises(InputError, match="at least one row to train on, found none \\(1 without labels\\)"):
        encode_dataset([StepRow("q", ("a",))], TOKENIZER, TOKENS, target=TargetSpec("labels"))


def test_counts_of_a_finished_end_are_its_outcome() -> None:
    dataset, _ = encode_dataset([StepRow("q", ("a", "b"), successes=(3, 0), trials=(8, 0), outcome=1.0)], TOKENIZER,
                                TOKENS)
    successes, trials = dataset.counts()
    assert successes.tolist() == [3, 1]
    assert trials.tolist() == [8, 1]


def test_rows_come_from_files_lists_and_trl_datasets_alike(tmp_path) -> None:
    data = [dataclasses.replace(row, labels=tuple(0.25 for _ in row.steps)) for row in rows(2, 2)]
    write_rows(tmp_path / "rows.jsonl", data)
    assert list(rows_of(tmp_path / "rows.jsonl")) == list(rows_of(data)) == data
    dataset = as_trl_dataset(data, TargetSpec("labels"))
    again = list(rows_of(dataset))
    assert ([(row.prompt, row.steps, row.labels) for row in again]
            == [(row.prompt, row.steps, row.labels) for row in data])


def test_soft_labels_survive_trl_and_a_missing_one_ends_the_row() -> None:
    row = StepRow("q", ("a", "b", "c"), labels=(0.7, None, 1.0))
    assert list(as_trl_dataset([row], TargetSpec("labels"))) == [{"prompt": "q", "completions": ["a"], "labels": [0.7]}]
    with pytest.raises(InputError, match=r"weight 1, as TRL's form has none, found 0\.5"):
        as_trl_dataset([dataclasses.replace(row, weight=0.5)], TargetSpec("labels"))


TRL = {"prompt": "q", "completions": ["a", "b"], "labels": [True, 0.5]}
BAD_TRL = [
    ({"labels": None}, "labels: expected a list of numbers or nulls, found null"),
    ({"labels": [1]}, "labels: expected one value per step (2), found 1"),
    ({"labels": ["+", "-"]}, "labels: expected a list of numbers or nulls, found str"),
    ({"labels": [0.5, 2]}, "labels: expected values in [0, 1] or null, found 2"),
    ({"labels": 1}, "labels: expected a list of numbers or nulls, found int"),
    ({"prompt": None}, "prompt: expected text, found null"),
    ({"prompt": [{"role": "user", "content": "q"}]}, "prompt: expected text, found a chat of 1 turns; render it with "
                                                     "the tokenizer's chat template first"),
    ({"completions": [], "labels": []}, "completions: expected at least one step, found none"),
    ({"completions": ["a", None]}, "completions: expected a list of texts, found NoneType"),
    ({"completions": "ab"}, "completions: expected a list of texts, found str"),
]


@pytest.mark.parametrize(("change", "message"), BAD_TRL)
def test_malformed_trl_rows_are_one_line_with_the_row_everywhere(change: dict[str, object], message: str,
                                                                 model_dir: Path, tmp_path: Path,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    records = [TRL, {**TRL, "prompt": "r"}, {**TRL, **change}]
    with pytest.raises(InputError, match=re.escape(f"dataset row 3: {message}")):
        PRMTrainer(str(model_dir), PRMConfig(str(tmp_path / "run"), target="labels", report_to="none"), records)
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    assert main(["train", "--model", str(model_dir), "--data", str(path), "--target", "labels", "--out",
                 str(tmp_path / "out")]) == 2
    assert f"{path}:3: {message}" in capsys.readouterr().err
    diagnosis = diagnose(model_dir, path)
    assert [(finding.level, finding.what) for finding in diagnosis.findings if finding.level == "error"] == [
        ("error", f"unreadable row: {path}:3: {message}")]
    assert diagnosis.rows == 2


def test_whole_trl_rows_are_read_from_files_and_array_datasets() -> None:
    expected = StepRow("q", ("a", "b"), labels=(1.0, 0.5))
    assert list(rows_of([TRL])) == [expected]
    arrays = {"prompt": "q", "completions": np.array(["a", "b"]), "labels": np.array([1.0, 0.5], np.float32)}
    assert list(rows_of([arrays])) == [expected]


@pytest.mark.parametrize(("record", "message"), [
    ({"prompt": "q", "completions": ["a"]}, "dataset row 1: labels: expected a list of numbers or nulls, found no"),
    (3, "dataset row 1: expected a StepRow or a mapping"),
    ({"prompt": "q", "steps": []}, "dataset row 1: steps: expected at least one step"),
])
def test_malformed_datasets_are_refused(record: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(rows_of([record]))
