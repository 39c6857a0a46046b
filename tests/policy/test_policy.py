"""Policy training with TRL: only the solution is learnt, the best is chosen, the PRM rewards."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM

from erprm.cli import main
from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError
from erprm.policy.preferences import best_solutions, preference_pairs
from erprm.policy.reward import PRMReward
from erprm.policy.sft import SFTOptions, encode_solution, train_sft
from erprm.prm.model import PRM
from erprm.prm.spec import PRMSpec
from erprm.rows import StepRow, read_rows, write_rows

ROWS = [StepRow(prompt=f"{a}+{b}?", steps=(f"{a}+{b}={a + b}", f"The answer is {a + b}"), outcome=float(good),
                problem_id=f"{a}+{b}", solution_id=f"{a}+{b}/{good}", finished=True)
        for a in range(3) for b in range(3) for good in (0, 1)]


@pytest.fixture(scope="module")
def prm(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prm")
    PRM.from_base(str(model_dir), tiny.tokenizer(), PRMSpec()).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def test_the_question_is_not_learnt() -> None:
    tokenizer = tiny.tokenizer()
    encoded = encode_solution(tokenizer, PromptTemplate(), ROWS[0], "newline")
    learnt = [token for token in encoded["labels"] if token != -100]
    assert tokenizer.decode(learnt) == "0+0=0\nThe answer is 0</s>"
    assert tokenizer.decode(encoded["input_ids"]) == "0+0?\n0+0=0\nThe answer is 0</s>"


def test_sft_lowers_the_loss_and_counts_what_is_too_long(model_dir: Path, tmp_path: Path) -> None:
    rows = [*ROWS, StepRow(prompt="long", steps=("x" * 100,))]
    report = train_sft(model_dir, rows, tmp_path / "policy", SFTOptions(
        max_steps=8, batch_size=8, learning_rate=5e-3, warmup_steps=1, max_length=64))
    assert (report.rows, report.dropped) == (len(ROWS), 1)
    batch = [encode_solution(tiny.tokenizer(), PromptTemplate(), row, "newline") for row in ROWS[:4]]

    def loss(folder: Path) -> float:
        model = AutoModelForCausalLM.from_pretrained(folder)
        with torch.no_grad():
            return float(np.mean([model(input_ids=torch.tensor([item["input_ids"]]),
                                        labels=torch.tensor([item["labels"]])).loss for item in batch]))

    assert loss(tmp_path / "policy") < 0.8 * loss(model_dir)


def test_no_row_that_fits_is_an_error(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row to train on"):
        train_sft(model_dir, ROWS, tmp_path, SFTOptions(max_length=3))


def test_the_best_finished_solution_of_each_problem_is_chosen() -> None:
    scores = [row.outcome for row in ROWS]
    chosen = best_solutions(ROWS, scores)
    assert [row.problem_id for row in chosen] == list(dict.fromkeys(row.problem_id for row in ROWS))
    assert all(row.outcome == 1 for row in chosen)
    assert best_solutions(ROWS, scores, minimum=2.0) == []
    with pytest.raises(InputError, match="one per row"):
        best_solutions(ROWS, scores[:-1])


def test_pairs_prefer_the_better_and_need_a_margin() -> None:
    rows = [StepRow("q", ("good",), problem_id="p"), StepRow("q", ("bad",), problem_id="p"),
            StepRow("r", ("only",), problem_id="r")]
    assert preference_pairs(rows, [0.9, 0.2, 0.5]) == [{"prompt": "q\n", "chosen": "good", "rejected": "bad"}]
    assert preference_pairs(rows, [0.9, 0.2, 0.5], margin=0.7) == []


def test_the_reward_is_the_aggregated_score(prm: Path) -> None:
    from erprm.prm.scoring.scorer import PRMScorer

    reward = PRMReward(str(prm), how="last")
    chat = [{"role": "user", "content": "0+0?"}], [{"role": "assistant", "content": "0+0=0\nThe answer is 0"}]
    rewards = reward(["0+0?\n", "0+0?\n", chat[0]], ["0+0=0\nThe answer is 0", " ", chat[1]])
    expected = float(PRMScorer(str(prm)).score([ROWS[0]])[0][-1])
    assert rewards == pytest.approx([expected, 0.0, expected], abs=1e-6)


@pytest.mark.parametrize("objective", ["raft", "dpo"])
def test_raft_command(objective: str, model_dir: Path, prm: Path, tmp_path: Path,
                      capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row if row.outcome else StepRow(row.prompt, ("no idea",), outcome=0.0, problem_id=row.problem_id)
            for row in ROWS]
    write_rows(tmp_path / "pool.jsonl", rows)
    assert main(["raft", "--policy", str(model_dir), "--prm", str(prm), "--solutions", str(tmp_path / "pool.jsonl"),
                 "--out", str(tmp_path / "out"), "--objective", objective, "--max-steps", "2", "--batch-size", "4",
                 "--learning-rate", "1e-3", "--warmup-steps", "0"]) == 0
    assert f"policy: {tmp_path / 'out'}" in capsys.readouterr().out
    assert len(list(read_rows(tmp_path / "out" / "chosen.parquet"))) == 9
    before = AutoModelForCausalLM.from_pretrained(model_dir).state_dict()
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
