"""Everything that would corrupt training is found, named with its row and advice, and ends the command with 2."""

import dataclasses
import json
import shlex
from pathlib import Path

import pytest
import tiny
import torch
from tokenizers import AddedToken

from erprm.cli import main
from erprm.demo.policy import write_untrained
from erprm.errors import InputError
from erprm.prm.doctor.checks import diagnose
from erprm.prm.doctor.findings import Diagnosis
from erprm.prm.rows.tokens import StepTokens, encode_row
from erprm.prm.training.config import PRMConfig
from erprm.prm.training.encode import encode_dataset
from erprm.prm.training.trainer import PRMTrainer
from erprm.problems.tasks import TASKS
from erprm.rows import StepRow, write_rows
from erprm.steps import StepTags
from erprm.tokenizers import load_tokenizer
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
    (StepRow("1?", (f"a{tiny.TAG} b",), successes=(1,), trials=(2,)), "warning", "holds the tag"),
    (StepRow("1?", ("",), successes=(0,), trials=(1,), outcome=0.0), "warning", "without any text"),
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


def test_what_label_makes_of_a_solution_that_ended_where_others_go_on_is_no_finding(model_dir: Path,
                                                                                    tmp_path: Path) -> None:
    ended = StepRow("2+3*4?", ("3*4=12",), successes=(0,), trials=(1,), outcome=0.0)  # its outcome, not a mean
    cut = StepRow("2+3*4?", ("3*4=12", "2+12=14"), successes=(3, 2), trials=(4, 4), outcome=0.0, finished=False)
    assert not examine(model_dir, tmp_path, [GOOD[0], ended, cut]).findings
    assert "other targets" in found(examine(model_dir, tmp_path, [GOOD[0], ended, cut, dataclasses.replace(
        cut, successes=(3, 1))]))[0][1]


def usable(advice: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The tags and label pairs that an advice names."""
    words = shlex.split(advice.split("in this tokenizer: ")[1].replace(", --", " --"))
    options = list(zip(words[::2], words[1::2], strict=True))
    plus = [text for name, text in options if name == "--plus"]
    return [text for name, text in options if name == "--tag"], list(zip(plus, [
        text for name, text in options if name == "--minus"], strict=True))


@pytest.mark.parametrize("spare", [(), ("<|reserved_0|>", "<|reserved_1|>", "<|turn|>")])
def test_every_tag_that_is_proposed_trains(spare: tuple[str, ...], tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(("\n", "\n\n", " yes", " no", tiny.PLUS, tiny.MINUS, *([] if spare else [tiny.TAG])))
    tokenizer.backend_tokenizer.add_special_tokens([AddedToken(text, special=True) for text in spare])
    tokenizer.chat_template = "<|turn|>{{ messages }}"
    tiny.llama(vocabulary=len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    [finding] = examine(tmp_path, tmp_path, GOOD, tags=StepTags(tag=" step")).findings
    tags, labels = usable(finding.advice)
    assert tags == (list(spare[:2]) if spare else [tiny.TAG])
    assert labels == [(tiny.PLUS, tiny.MINUS), ("+", "-")]
    for tag in tags:
        for plus, minus in labels:
            assert examine(tmp_path, tmp_path, GOOD, tags=StepTags(tag, plus, minus)).healthy
            arguments = PRMConfig(str(tmp_path / "run"), max_steps=1, report_to="none", tag=tag, plus=plus, minus=minus,
                                  disable_tqdm=True, save_strategy="no")
            trainer = PRMTrainer(str(tmp_path), arguments, GOOD)
            trainer.train()
            assert trainer.state.global_step == 1


def test_tokens_that_the_model_has_no_row_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny.tokenizer((tiny.PLUS, tiny.MINUS, tiny.TAG))
    tokenizer.add_special_tokens({"pad_token": "<a new pad>"})
    tokenizer.add_tokens(["<new>"])
    small = tiny.llama(vocabulary=tokenizer.pad_token_id)
    small.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    expected = f"pad token '<a new pad>': its id {tokenizer.pad_token_id} lies outside the model's vocabulary of"
    [(level, what, _)] = found(examine(tmp_path, tmp_path, GOOD))
    assert level == "error"
    assert what.startswith(expected)
    for command in ("train", "sft"):
        assert main([command, "--model", str(tmp_path), "--data", str(tmp_path / "train.jsonl"), "--out",
                     str(tmp_path / "out")]) == 2
        assert expected in capsys.readouterr().err
    tokenizer.pad_token = "</s>"
    tokenizer.save_pretrained(tmp_path)
    new = StepRow("1<new>?", ("1",), successes=(1,), trials=(2,))
    assert [(level, rows) for level, _, rows in found(examine(tmp_path, tmp_path, [*GOOD, new]))] == [
        ("note", []), ("error", [3])]
    with pytest.raises(InputError, match=r"row 3: holds token \d+, '<new>'"):
        PRMTrainer(str(tmp_path), PRMConfig(str(tmp_path / "run"), report_to="none"), [*GOOD, new])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    model = tiny.llama()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[5, 7] = value
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    tiny.tokenizer().save_pretrained(tmp_path)
    shard = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"][
        "model.layers.1.mlp.up_proj.weight"]
    [finding] = found(examine(tmp_path, tmp_path, GOOD))
    assert finding[:2] == ("error", f"{tmp_path / shard}: expected finite weights, found NaN or infinite numbers in "
                                    "model.layers.1.mlp.up_proj.weight")


def test_padding_with_the_end_of_sequence_is_said_and_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                                    ) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tiny.save(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    diagnosis = examine(tmp_path, tmp_path, GOOD)
    assert [level for level, _, _ in found(diagnosis)] == ["note"]
    assert diagnosis.healthy
    trainer = PRMTrainer(str(tmp_path), PRMConfig(str(tmp_path / "run"), report_to="none"), GOOD)
    trainer.get_train_dataloader()
    assert capsys.readouterr().out.count("padding: '</s>', which also ends a text") == 1


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


def test_text_that_the_tokenizer_loses_is_one_finding_that_names_the_characters(tmp_path: Path) -> None:
    """The demo's vocabulary has no letters but those of its words, and no bytes to fall back on."""
    write_untrained(tmp_path, TASKS["chain_sum"], seed=0, hidden=32, layers=1)
    told = StepRow("2+2?", ("2+2 → 4", "it's 4"), successes=(1, 2), trials=(2, 2))
    known = dataclasses.replace(told, steps=("2+2=4", "4"), prompt="2+2=")
    diagnosis = examine(tmp_path, tmp_path, [known, told, told])
    [finding] = [finding for finding in diagnosis.findings if "loses" in finding.what]
    assert (finding.level, finding.count, finding.rows) == ("warning", 2, [2, 3])
    assert finding.what.endswith("whichever way it is read: \"'\" (U+0027), '?' (U+003F), 'i' (U+0069), 's' (U+0073), "
                                 "'t' (U+0074), '→' (U+2192)")
    tokenizer = load_tokenizer(tmp_path)
    _, report = encode_dataset([known, told, told], tokenizer, StepTokens.from_tokenizer(tokenizer, StepTags()))
    assert "2 rows hold text that the tokenizer does not know and loses" in str(report)


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
