"""GRPO with TRL's own trainer: steps are credited at their tokens, outcomes need no model, bad options are one line."""

import json
from bisect import bisect_right
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from erprm.cli import main
from erprm.policy.grpo import GRPOOptions, step_advantages, train_grpo
from erprm.policy.reward import PRMReward, step_ends
from erprm.problems import Problem
from erprm.steps import split_steps


def test_a_steps_advantage_is_its_return_less_the_groups() -> None:
    rewards = [[0.5, 0.25, 1.0], [0.0, 1.0], [2.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    got = step_advantages(rewards, 3)
    spread = np.std([1.75, 1.0, 2.0], ddof=1) + 1e-4
    first, second = np.mean([1.75, 1.0, 2.0]), np.mean([1.25, 1.0])
    np.testing.assert_allclose(got[0], np.array([1.75 - first, 1.25 - second, 0.0]) / spread)
    np.testing.assert_allclose(got[1], np.array([1.0 - first, 1.0 - second]) / spread)
    np.testing.assert_allclose(got[2], np.array([2.0 - first]) / spread)
    assert all(not part.any() for part in got[3:]), "a group of equals has nothing to learn"


def test_one_step_is_grpos_own_advantage() -> None:
    totals = np.random.default_rng(0).random(8)
    got = np.concatenate(step_advantages([[total] for total in totals], 4))
    groups = torch.tensor(totals).view(2, 4)
    expected = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)  # as TRL has it
    np.testing.assert_allclose(got, expected.flatten().numpy())


def problems(path: Path) -> str:
    records = [{"id": str(number), "question": f"{number}+1?", "answer": str(number + 1)} for number in range(3)]
    records.append({"id": "long", "question": "x" * 200, "answer": "1"})
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def command(tmp_path: Path, model_dir: Path, *options: str) -> list[str]:
    return ["grpo", "--policy", str(model_dir), "--problems", problems(tmp_path / "problems.jsonl"), "--out",
            str(tmp_path / "out"), "--n", "4", "--batch-size", "8", "--max-steps", "2", "--max-tokens", "12",
            "--max-length", "60", "--learning-rate", "1e-3", "--warmup-steps", "0", *options]


@pytest.mark.parametrize("options", [("--mode", "min"), ("--mode", "steps", "--dense", "--outcome-weight", "0.5",
                                                         "--normalise")], ids=["scalar", "dense"])
def test_the_command_trains_on_the_model(options: tuple[str, ...], prm: Path, model_dir: Path, tmp_path: Path,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    run = command(tmp_path, model_dir, "--prm", str(prm), *options)
    assert main(run) == 0
    out = capsys.readouterr().out
    assert "2 steps on 3 problems, 1 dropped as too long" in out
    assert "16 completions scored" in out or "without a step" in out
    assert "KL from the beginning 0." in out
    assert tiny.moved(model_dir, tmp_path / "out")
    assert main(run) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_outcome_alone_needs_no_model(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path, model_dir, "--outcome-weight", "1", "--beta", "0", "--max-steps", "1")) == 0
    assert "1 steps on 3 problems" in capsys.readouterr().out
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.float32


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.writer(tmp_path_factory.mktemp("writer"), "ab\n")


def by_length(texts):
    return [np.array([len(step) / 10 for step in steps]) for _, steps in texts]


def test_dense_advantages_lie_at_the_tokens_of_their_steps(writer: Path, tmp_path: Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches TRL's loss, computed here again from what the policy wrote: a character is a token."""
    import trl

    seen = []
    loss = trl.GRPOTrainer._compute_loss

    def watched(self, model, inputs):
        seen.append({name: inputs[name].clone() for name in ("advantages", "completion_ids", "completion_mask")})
        return loss(self, model, inputs)

    monkeypatch.setattr(trl.GRPOTrainer, "_compute_loss", watched)
    train_grpo(writer, [Problem("a", "1+1?", "2")], PRMReward(by_length, mode="steps"), tmp_path / "out", GRPOOptions(
        n=8, batch_size=8, max_steps=1, max_tokens=12, max_length=60, dense=True, beta=0.0))
    [batch] = seen
    texts = [tiny.tokenizer().decode(ids[kept == 1], skip_special_tokens=True) for ids, kept in
             zip(batch["completion_ids"], batch["completion_mask"], strict=True)]
    steps = [split_steps(text) for text in texts]
    assert max(map(len, steps)) > 2
    got = dict(zip(texts, batch["advantages"].tolist(), strict=True))
    everyone = step_advantages([[len(step) / 10 for step in part] for part in steps], 8)
    for text, part, advantages in zip(texts, steps, everyone, strict=True):
        stops = step_ends(text, part)
        expected = [advantages[min(bisect_right(stops, place), len(part) - 1)] for place in range(len(text))]
        np.testing.assert_allclose(got[text][: len(text)], expected, atol=1e-5)


@pytest.mark.parametrize(("options", "words"), [
    ((), "prm: expected a process reward model, or --outcome-weight 1"),
    (("--outcome-weight", "1", "--dense"), "dense: expected a process reward"),
    (("--outcome-weight", "1", "--n", "3"), "batch_size: expected a batch of completions that n = 3 divides, found 8"),
    (("--outcome-weight", "1", "--max-length", "12"), "problems: expected one whose question leaves 12 of 12 tokens"),
    (("--outcome-weight", "1", "--n", "1"), "n: expected at least 2, found 1"),
])
def test_bad_options_are_one_line(options: tuple[str, ...], words: str, model_dir: Path, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(command(tmp_path, model_dir, *options)) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]
