"""Everything that would corrupt training is found, named with its row and advice, and ends the command with 2."""

import json
from pathlib import Path

import pytest
import tiny

from erprm.cli import main
from erprm.errors import InputError
from erprm.prm.doctor.checks import diagnose
from erprm.prm.doctor.findings import Diagnosis
from erprm.prm.rows.tokens import StepTokens, encode_row
from erprm.rows import StepRow, write_rows
from erprm.steps import StepTags
from erprm.values.spec import TargetSpec

GOOD = [StepRow("2+3*4?", ("3*4=12", "2+12=14"), successes=(3, 4), trials=(4, 4), outcome=1.0),
        StepRow("1+1?", ("1+1=3",), successes=(0,), trials=(4,), outcome=0.0)]


def examine(model_dir: Path, folder: Path, rows: list[StepRow], heldout: list[StepRow] | None = None,
            **options: object) -> Diagnosis:
    write_rows(folder / "train.jsonl", rows)
    if heldout is not None:
        write_rows(folder / "eval.jsonl", heldout)
    evaluation = folder / "eval.jsonl" if heldout is not None else None
    return diagnose(model_dir, folder / "train.jsonl", evaluation, **options)


def found(diagnosis: Diagnosis) -> list[tuple[str, str, list[int]]]:
    return [(finding.level, finding.what, finding.rows) for finding in diagnosis.findings]


def test_a_good_file_is_healthy_and_shown_as_it_is_trained(model_dir: Path, tmp_path: Path) -> None:
    diagnosis = examine(model_dir, tmp_path, GOOD, [StepRow("9-9?", ("0",), successes=(1,), trials=(2,))],
                        target=TargetSpec("soft"))
    assert diagnosis.healthy
    assert not diagnosis.findings
    assert (diagnosis.rows, diagnosis.tags, diagnosis.labelled) == (2, 3, 3)
    tokenizer = tiny.tokenizer()
    ids = encode_row(tokenizer, StepTokens.from_tokenizer(tokenizer), GOOD[0].prompt, GOOD[0].steps).ids
    number, shown = diagnosis.samples[0]
    assert number == 1
    assert [text for text, _ in shown] == [tokenizer.decode([token]) for token in ids]
    assert [target for text, target in shown if text == tiny.TAG] == [0.75, 1.0]
    assert "ки|  <- 0.75" in str(diagnosis)


@pytest.mark.parametrize(("bad", "level", "what"), [
    (StepRow("1?", (f"a{tiny.TAG} b",), successes=(1,), trials=(2,)), "error", "holds the tag"),
    (StepRow("1+1?", ("1+1=3",), successes=(4,), trials=(4,), outcome=1.0), "error", "with other targets"),
    (GOOD[0], "warning", "targets included"),
    (StepRow("2+3*4?", ("3*4=12", "12-2=10"), successes=(1, 0), trials=(4, 4), outcome=0.0), "warning",
     "other than an earlier row's for the same first steps"),
    (StepRow("1?", ("x" * 90, "y"), successes=(1, 1), trials=(2, 2)), "error", "not even the first step"),
    (StepRow("1?", ("x", "y" * 90), successes=(1, 1), trials=(2, 2)), "warning", "lose their last steps"),
    (StepRow("1?", ("x",)), "warning", "without any target"),
    (StepRow("1?", ("x", " "), successes=(1, 1), trials=(2, 2)), "warning", "empty step"),
])
def test_each_fault_is_found_in_its_row(model_dir: Path, tmp_path: Path, bad: StepRow, level: str, what: str) -> None:
    diagnosis = examine(model_dir, tmp_path, [*GOOD, bad], max_length=64)
    [finding] = found(diagnosis)
    assert finding[0] == level
    assert what in finding[1]
    assert finding[2] == [3]
    assert diagnosis.healthy == (level == "warning")


def test_held_out_problems_that_are_trained_on(model_dir: Path, tmp_path: Path) -> None:
    heldout = [StepRow("5?", ("5",)), StepRow("1 + 1?", ("2",)), StepRow(" 1+1?", ("1+1=2",)), GOOD[0]]
    diagnosis = examine(model_dir, tmp_path, GOOD, heldout)
    assert not diagnosis.healthy
    assert [(what.split("eval.jsonl ")[1], rows) for _, what, rows in found(diagnosis)] == [
        ("that are training rows", [4]), ("whose problem is also trained on", [3])]


@pytest.mark.parametrize(("tags", "named"), [
    (StepTags(tag=" step"), "tag ' step'"), (StepTags(plus=" good"), "plus ' good'"),
    (StepTags(minus=" +"), "three different tokens"),
])
def test_tags_that_are_not_single_tokens_and_what_would_be(model_dir: Path, tmp_path: Path, tags: StepTags,
                                                            named: str) -> None:
    diagnosis = examine(model_dir, tmp_path, GOOD, tags=tags)
    assert not diagnosis.healthy
    assert diagnosis.rows == 2  # the rest of the file is looked at all the same
    [finding] = diagnosis.findings
    assert named in finding.what
    assert "' ки'" in finding.advice


def test_targets_that_teach_nothing(model_dir: Path, tmp_path: Path) -> None:
    assert found(examine(model_dir, tmp_path, GOOD[:1], target=TargetSpec("outcome")))[0][0] == "warning"
    errors = [what for level, what, _ in found(examine(model_dir, tmp_path, GOOD, target=TargetSpec("labels")))
              if level == "error"]
    assert errors == ["no step has a target"]
    assert not examine(model_dir, tmp_path, []).healthy


def test_more_tokens_than_the_model_has_positions(model_dir: Path, tmp_path: Path) -> None:
    [finding] = found(examine(model_dir, tmp_path, GOOD, max_length=4096))
    assert finding[0] == "error"
    assert "1024 positions" in finding[1]


def test_an_unreadable_row_is_a_finding_and_the_rows_before_it_are_looked_at(model_dir: Path, tmp_path: Path) -> None:
    lines = [json.dumps(GOOD[0].to_dict()), '{"prompt": "1?", "steps": ["a"], "labels": [0.5, 0.5]}']
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    diagnosis = diagnose(model_dir, tmp_path / "train.jsonl")
    assert diagnosis.rows == 1
    assert "train.jsonl:2: labels: expected one value per step (1), found 2" in found(diagnosis)[0][1]


def test_command_exits_2_on_errors_only(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["doctor", "--model", str(model_dir), "--data", str(tmp_path / "train.jsonl"), "--target", "soft"]
    assert main(command) == 2
    assert "no such file" in capsys.readouterr().err
    write_rows(tmp_path / "train.jsonl", GOOD)
    assert main(command) == 0
    assert "healthy: nothing here would corrupt training" in capsys.readouterr().out
    assert main([*command, "--tag", " step"]) == 2
    assert "not healthy" in capsys.readouterr().out


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tokenizer"):
        examine(tmp_path, tmp_path, GOOD)
