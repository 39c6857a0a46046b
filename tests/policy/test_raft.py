"""RAFT in iterations with a real tiny policy: what is kept, measured, and gone on with after a kill."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from erprm.cli import main
from erprm.errors import InputError
from erprm.policy.divergence import divergence
from erprm.policy.raft import choose
from erprm.policy.raft_options import RAFTOptions
from erprm.prm.model import PRM
from erprm.prm.spec import PRMSpec
from erprm.rows import StepRow, read_rows, write_rows

ROWS = [StepRow("q", (text,), outcome=outcome, problem_id="p", finished=finished) for text, outcome, finished in (
    ("long and wrong", 0.0, True), ("right", 1.0, True), ("right too", 1.0, True), ("right, but cut off", 1.0, False))]


def by_length(rows):
    return [np.array([len(row.steps[0]) / 100]) for row in rows]


@pytest.mark.parametrize(("options", "texts"), [
    ({}, ["long and wrong"]),
    ({"keep": 2}, ["long and wrong", "right too"]),
    ({"keep": 0, "minimum": 0.08}, ["long and wrong", "right too"]),
    ({"rank_by": "both"}, ["right too"]),
    ({"rank_by": "correct"}, ["right"]),
    ({"rank_by": "correct", "keep": 0}, ["right", "right too"]),
])
def test_what_is_kept(options, texts: list[str]) -> None:
    assert [row.steps[0] for row in choose(ROWS, RAFTOptions(**options), by_length)] == texts


def test_scores_need_a_model_and_correct_ones_do_not() -> None:
    assert choose(ROWS, RAFTOptions(rank_by="correct"), None)
    assert choose(ROWS[:1], RAFTOptions(rank_by="correct"), None) == []
    with pytest.raises(InputError, match="prm needs a process reward model"):
        choose(ROWS, RAFTOptions(), None)


def test_divergence_is_the_sum_over_tokens_and_zero_from_itself(model_dir: Path, tmp_path: Path) -> None:
    tiny.save(tmp_path / "other", seed=1)
    rows = [StepRow("1+1?", ("1+1=2", "done")), StepRow("q", ("x",), finished=False)]
    assert divergence(model_dir, model_dir, rows).solution == pytest.approx(0, abs=1e-5)
    ours, theirs = (AutoModelForCausalLM.from_pretrained(folder).double() for folder in (model_dir, tmp_path / "other"))
    total, tokens = 0.0, 0
    for prompt, text in (("1+1?\n", "1+1=2\ndone</s>"), ("q\n", "x")):
        ids = tiny.tokenizer()(prompt + text, add_special_tokens=False)["input_ids"]
        first = len(tiny.tokenizer()(prompt, add_special_tokens=False)["input_ids"])
        for place in range(first, len(ids)):
            with torch.no_grad():
                p, q = (model(input_ids=torch.tensor([ids[:place]])).logits[0, -1].log_softmax(-1)
                        for model in (ours, theirs))
            total += float((p.exp() * (p - q)).sum())
            tokens += 1
    found = divergence(model_dir, tmp_path / "other", rows)
    assert found.solution == pytest.approx(total / 2, rel=1e-4)
    assert found.token == pytest.approx(total / tokens, rel=1e-4)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes the digits 1 and 2 and line ends, and ends soon: right for half of its problems now and then."""
    return tiny.writer(tmp_path_factory.mktemp("policy"), "12\n</s>")


@pytest.fixture(scope="module")
def command(policy: Path, model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("inputs")
    PRM.from_base(str(model_dir), tiny.tokenizer(), PRMSpec()).save_pretrained(folder / "prm")
    tiny.tokenizer().save_pretrained(folder / "prm")
    for name, count in (("train", 6), ("heldout", 4)):
        (folder / f"{name}.jsonl").write_text("".join(
            json.dumps({"id": f"{name}{number}", "question": f"{number}?", "answer": str(1 + number % 2)}) + "\n"
            for number in range(count)))
    return ["raft", "--policy", str(policy), "--problems", str(folder / "train.jsonl"), "--heldout",
            str(folder / "heldout.jsonl"), "--prm", str(folder / "prm"), "--answer", "last-number", "--max-tokens", "6",
            "--n", "8", "--heldout-n", "4", "--keep", "2", "--max-steps", "2", "--batch-size", "4", "--warmup-steps",
            "0", "--learning-rate", "1e-2", "--decay", "0.5", "--workers", "1"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.suffix in (".json", ".safetensors", ".parquet") and ".store" not in str(path)}


def test_iterations_learn_measure_and_go_on_where_they_were_killed(
        command: list[str], policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([*command, "--iterations", "2", "--out", str(whole)]) == 0
    out = capsys.readouterr().out
    assert f"wrote {whole / 'iteration-2' / 'policy'}" in out
    records = [json.loads((whole / f"iteration-{number}" / "iteration.json").read_text()) for number in range(3)]
    assert [record["learning_rate"] for record in records] == [None, 1e-2, 5e-3]
    assert records[0]["divergence"] is None
    for number, record in enumerate(records[1:], start=1):
        chosen = list(read_rows(whole / f"iteration-{number}" / "chosen.parquet"))
        assert (record["sampled"], record["chosen"]) == (48, len(chosen))
        assert record["right"] == pytest.approx(np.mean([row.outcome for row in chosen]))
        heldout = list(read_rows(whole / f"iteration-{number}" / "heldout.parquet"))
        assert record["accuracy"] == pytest.approx(np.mean([row.outcome for row in heldout]))
        assert record["gain"] == pytest.approx(record["accuracy"] - records[0]["accuracy"])
        assert record["divergence"] > 0
        assert math.isfinite(record["loss"])
    assert tiny.moved(policy, whole / "iteration-1" / "policy")
    assert tiny.moved(whole / "iteration-1" / "policy", whole / "iteration-2" / "policy")

    shutil.copytree(whole, killed)  # as a kill in the second iteration's training leaves it
    (killed / "iteration-2" / "heldout.parquet").unlink()
    for damaged in ("iteration.json", "loss.json"):
        record = killed / "iteration-2" / damaged
        record.write_bytes(record.read_bytes()[:-20])
    for gone in ("policy", "heldout.parquet.store"):
        shutil.rmtree(killed / "iteration-2" / gone)
    before = (killed / "iteration-2" / "solutions.parquet").stat().st_mtime_ns
    assert main([*command, "--iterations", "2", "--out", str(killed)]) == 0
    assert (killed / "iteration-2" / "solutions.parquet").stat().st_mtime_ns == before, "it is not sampled again"
    said = capsys.readouterr().err
    assert all(f"{killed / 'iteration-2' / name}: can't be read" in said for name in ("iteration.json", "loss.json"))
    ours, theirs = files(whole), files(killed)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name] and name.endswith((".json", ".safetensors"))] == []

    capsys.readouterr()
    assert main([*command, "--iterations", "2", "--out", str(whole), "--keep", "1"]) == 2
    assert "keep = 2 there, 1 asked for" in capsys.readouterr().err


def test_the_baseline_needs_no_model(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = command.index("--prm")
    without = [*command[:place], *command[place + 2:], "--out", str(tmp_path / "out"), "--iterations", "1"]
    assert main(without) == 2
    assert "--rank-by correct needs none" in capsys.readouterr().err
    assert main([*without, "--rank-by", "correct", "--keep", "0"]) == 0
    chosen = list(read_rows(tmp_path / "out" / "iteration-1" / "chosen.parquet"))
    assert chosen
    assert all(row.outcome == 1.0 for row in chosen)


def test_nothing_to_learn_is_one_line(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = tmp_path / "pool.jsonl"
    write_rows(pool, ROWS[:1])
    assert main(["raft", "--policy", str(model_dir), "--solutions", str(pool), "--rank-by", "correct", "--out",
                 str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert f"{pool}: expected solutions to learn, found none of 1 that are finished and right" in said


def test_a_policy_that_writes_nothing_is_measured_too(command: list[str], tmp_path: Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    silent = tiny.writer(tmp_path / "silent", "</s>")
    run = [*command, "--policy", str(silent), "--out", str(tmp_path / "out"), "--iterations", "1"]
    assert main(run) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "iteration-1" / "iteration.json").read_text())
    assert (record["accuracy"], record["gain"], record["divergence"]) == (0.0, 0.0, None)
    assert record["chosen"] > 0


@pytest.mark.parametrize(("options", "words"), [
    ((), "expected either --problems, to sample from, or --solutions, found neither"),
    (("--problems", "p.jsonl", "--solutions", "s.jsonl"), "found both"),
])
def test_either_problems_or_solutions(options: tuple[str, ...], words: str, tmp_path: Path,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["raft", "--policy", "x", "--prm", "y", "--out", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err
