"""Policy training with TRL: only the solution is learnt, the best is chosen, the PRM rewards."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from erprm.cli import main
from erprm.engines.prompts import PromptTemplate
from erprm.errors import InputError
from erprm.policy.dpo import encode_pair, train_dpo
from erprm.policy.preferences import best_solutions, preference_pairs, step_forks
from erprm.policy.reward import PRMReward
from erprm.policy.sft import SFTOptions, encode_solution, train_sft
from erprm.rows import StepRow, read_rows, write_rows

ROWS = [StepRow(prompt=f"{a}+{b}?", steps=(f"{a}+{b}={a + b}", f"The answer is {a + b}"), outcome=float(good),
                problem_id=f"{a}+{b}", solution_id=f"{a}+{b}/{good}", finished=True)
        for a in range(3) for b in range(3) for good in (0, 1)]


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
    assert 0 < report.loss < 20  # a run of fewer steps than are logged has one too
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


def test_rows_without_ids_belong_to_their_prompt() -> None:
    rows = [StepRow("q", ("good",)), StepRow("r", ("worse",)), StepRow("q", ("bad",)), StepRow("r", ("better",))]
    scores = [0.9, 0.1, 0.2, 0.4]
    assert [(pair["prompt"], pair["chosen"], pair["rejected"]) for pair in preference_pairs(rows, scores)] == [
        ("q\n", "good", "bad"), ("r\n", "better", "worse")]
    assert [row.steps for row in best_solutions(rows, scores)] == [("good",), ("better",)]


@pytest.fixture(scope="module")
def chat_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama with a chat template."""
    folder = tiny.save(tmp_path_factory.mktemp("chat"))
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = ("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
                               "{% if add_generation_prompt %}[assistant]{% endif %}")
    tokenizer.save_pretrained(folder)
    return folder


def test_pairs_of_a_chat_keep_its_template(chat_dir: Path) -> None:
    rows = [StepRow("q", ("good", "end"), problem_id="p"), StepRow("q", ("bad",), problem_id="p")]
    [pair] = preference_pairs(rows, [0.9, 0.2], template=PromptTemplate("chat", system="Be brief."))
    assert pair == {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}],
                    "chosen": [{"role": "assistant", "content": "good\nend"}],
                    "rejected": [{"role": "assistant", "content": "bad"}]}
    tokenizer = AutoTokenizer.from_pretrained(chat_dir)
    encoded = {name: tokenizer.decode(ids) for name, ids in encode_pair(tokenizer, pair).items()}
    assert encoded == {"prompt_ids": "[system]Be brief.[user]q[assistant]", "chosen_ids": "good\nend</s>",
                       "rejected_ids": "bad</s>"}
    plain = encode_pair(tokenizer, {"prompt": "q\n", "chosen": "good", "rejected": "bad"})
    assert tokenizer.decode(plain["prompt_ids"] + plain["chosen_ids"]) == "q\ngood</s>"


def test_the_batch_is_what_the_vocabulary_leaves_room_for() -> None:
    assert SFTOptions().batches(100, 150) == (64, 1)
    size, passes = SFTOptions().batches(1024, 262_144)
    assert (size, passes) == (2, 32), "2 GiB of float32 logits"
    assert SFTOptions().batches(1024, 262_144, rows_each=2) == (1, 64)
    assert SFTOptions().batches(8192, 262_144) == (1, 64)
    assert SFTOptions(batch_size=48, gradient_accumulation=3).batches(1024, 262_144) == (48, 3)
    assert SFTOptions(epochs=0.5).steps(129) == 2


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_bf16_checkpoints_train_as_float32_and_short_runs_have_a_loss(objective: str, tmp_path: Path) -> None:
    """At 2e-5 most weights of a bfloat16 matrix can't move; float32 masters do."""
    model = tiny.llama().to(torch.bfloat16)
    model.save_pretrained(tmp_path / "bf16")
    tiny.tokenizer().save_pretrained(tmp_path / "bf16")
    options = SFTOptions(max_steps=2, batch_size=4, learning_rate=2e-5, warmup_steps=0)
    if objective == "sft":
        assert train_sft(tmp_path / "bf16", ROWS, tmp_path / "out", options).loss > 0
    else:
        scores = [row.outcome for row in ROWS]
        rows = [row if row.outcome else dataclasses.replace(row, steps=("no idea",)) for row in ROWS]
        report = train_dpo(tmp_path / "bf16", preference_pairs(rows, scores), tmp_path / "out", options)
        assert (report.pairs, report.dropped) == (9, 0)
        assert 0 <= report.ahead <= 1
    after = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert after.dtype == torch.float32
    moved = (after.model.layers[0].mlp.up_proj.weight != model.model.layers[0].mlp.up_proj.weight.float()).float()
    assert moved.mean() > 0.9


def test_a_loss_that_is_no_number_saves_nothing(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the loss is (nan|inf)|holds NaN"):
        train_sft(model_dir, ROWS, tmp_path / "out", SFTOptions(max_steps=30, learning_rate=1e30, warmup_steps=0,
                                                                batch_size=8))
    assert not (tmp_path / "out" / "config.json").exists()


def test_the_reward_is_the_aggregated_score(prm: Path) -> None:
    from erprm.prm.scoring.scorer import PRMScorer

    reward = PRMReward(str(prm), how="last")
    chat = [{"role": "user", "content": "0+0?"}], [{"role": "assistant", "content": "0+0=0\nThe answer is 0"}]
    rewards = reward(["0+0?\n", "0+0?\n", chat[0]], ["0+0=0\nThe answer is 0", " ", chat[1]])
    expected = float(PRMScorer(str(prm)).score([ROWS[0]])[0][-1])
    assert rewards == pytest.approx([expected, 0.0, expected], abs=1e-6)


def test_a_template_that_refuses_a_system_turn_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    tiny.save(tmp_path / "chat")
    tokenizer.save_pretrained(tmp_path / "chat")
    write_rows(tmp_path / "rows.jsonl", ROWS)
    capsys.readouterr()  # the progress of saving
    assert main(["sft", "--model", str(tmp_path / "chat"), "--data", str(tmp_path / "rows.jsonl"), "--out",
                 str(tmp_path / "out"), "--prompt", "chat", "--system", "Be brief."]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "System role not supported" in line


def test_a_finished_policy_is_left_alone(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "rows.jsonl", ROWS)
    command = ["sft", "--model", str(model_dir), "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out"),
               "--max-steps", "1", "--batch-size", "4"]
    assert main(command) == 0
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main([*command, "--seed", "1"]) == 2
    assert "seed = 0 there, 1 asked for" in capsys.readouterr().err


def test_raft_command(model_dir: Path, prm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row if row.outcome else StepRow(row.prompt, ("no idea",), outcome=0.0, problem_id=row.problem_id)
            for row in ROWS]
    write_rows(tmp_path / "pool.jsonl", rows)
    assert main(["raft", "--policy", str(model_dir), "--prm", str(prm), "--solutions", str(tmp_path / "pool.jsonl"),
                 "--out", str(tmp_path / "out"), "--max-steps", "2", "--batch-size", "4",
                 "--learning-rate", "1e-3", "--warmup-steps", "0"]) == 0
    assert f"wrote {tmp_path / 'out'}" in capsys.readouterr().out
    assert len(list(read_rows(tmp_path / "out" / "chosen.parquet"))) == 9
    assert tiny.moved(model_dir, tmp_path / "out")


FORKED = [
    StepRow("q", ("a", "b", "c"), problem_id="p"), StepRow("q", ("a", "x"), problem_id="p"),
    StepRow("q", ("a", "b", "d"), finished=False, problem_id="p"), StepRow("q", ("z",), problem_id="p"),
    StepRow("other", ("a", "y"), problem_id="o"),
]
FORK_SCORES = [[0.8, 0.7, 0.9], [0.8, 0.2], [0.8, 0.7, 0.1], [0.3], [0.5, 0.5]]


def test_forks_are_where_solutions_of_a_problem_part() -> None:
    """Behind each shared prefix the best step against the worst; a step that was cut off is none."""
    assert step_forks(FORKED, FORK_SCORES) == [
        {"prompt": "q\n", "prefix": "", "chosen": "a\n", "rejected": "z", "ended": ["rejected"]},
        {"prompt": "q\n", "prefix": "a\n", "chosen": "b\n", "rejected": "x", "ended": ["rejected"]}]
    assert [pair["prefix"] for pair in step_forks(FORKED, FORK_SCORES, margin=0.45)] == ["", "a\n"]
    assert [pair["prefix"] for pair in step_forks(FORKED, FORK_SCORES, margin=0.5)] == []
    with pytest.raises(InputError, match="one list per row"):
        step_forks(FORKED, FORK_SCORES[:-1])


@pytest.mark.parametrize("kind", ["plain", "chat"])
def test_a_forks_tokens_are_the_solutions_own(kind: str, chat_dir: Path) -> None:
    """Prefix and step together are the tokens of the solution, and only a last step ends."""
    tokenizer = AutoTokenizer.from_pretrained(chat_dir)
    template = PromptTemplate(kind)
    rows = [StepRow("q", ("a", "b", "c"), gaps=("", "\n\n", "\n", ""), problem_id="p"),
            StepRow("q", ("a", "x"), gaps=("", "\n\n", ""), problem_id="p")]
    [fork] = step_forks(rows, [[0.8, 0.7, 0.9], [0.8, 0.2]], template=template)
    encoded = {name: tokenizer.decode(ids) for name, ids in encode_pair(tokenizer, fork).items()}
    asked = "q\n" if kind == "plain" else "[user]q[assistant]"
    assert encoded == {"prompt_ids": f"{asked}a\n\n", "chosen_ids": "b\n", "rejected_ids": "x</s>"}


@pytest.mark.parametrize(("pairs", "count"), [("solutions", 9), ("steps", 9), ("both", 18)])
def test_dpo_command(pairs: str, count: int, model_dir: Path, prm: Path, tmp_path: Path,
                     capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row if row.outcome else StepRow(row.prompt, ("no idea",), outcome=0.0, problem_id=row.problem_id)
            for row in ROWS]
    scored = [dataclasses.replace(row, scores=tuple([float(row.outcome or 0.0)] * len(row.steps))) for row in rows]
    write_rows(tmp_path / "pool.parquet", rows if pairs == "both" else scored)
    command = ["dpo", "--policy", str(model_dir), "--solutions", str(tmp_path / "pool.parquet"), "--pairs", pairs,
               "--out", str(tmp_path / "out"), "--max-steps", "1", "--batch-size", "4", "--learning-rate", "1e-3",
               "--warmup-steps", "0", *(["--prm", str(prm)] if pairs == "both" else [])]
    assert main(command) == 0
    assert f"{count} pairs trained on, 0 dropped" in capsys.readouterr().out
    written = [json.loads(line) for line in (tmp_path / "out" / "pairs.jsonl").read_text().splitlines()]
    assert len(written) == count
    if pairs != "both":
        assert all(pair["rejected"] == "no idea" for pair in written)
    assert tiny.moved(model_dir, tmp_path / "out")
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_dpo_without_scores_or_differences_is_one_line(model_dir: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(tmp_path / "pool.jsonl", ROWS)
    command = ["dpo", "--policy", str(model_dir), "--solutions", str(tmp_path / "pool.jsonl"), "--out",
               str(tmp_path / "out")]
    assert main(command) == 2
    assert "expected scores, found none" in capsys.readouterr().err
    write_rows(tmp_path / "pool.jsonl", [dataclasses.replace(row, scores=(0.5, 0.5)) for row in ROWS])
    assert main(command) == 2
    assert "expected solutions of a problem whose scores differ by more than 0.0" in capsys.readouterr().err


def test_dpo_by_right_and_wrong_alone(model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores don't matter, and a problem without both kinds gives no pair."""
    rows = [StepRow(f"{problem}?", (text,), outcome=outcome, scores=(score,), problem_id=problem)
            for problem, outcomes in (("p", (0.0, 1.0, 1.0)), ("q", (0.0, 0.0, 1.0)), ("r", (0.0, 0.0, 0.0)))
            for text, outcome, score in zip(("one", "two", "three"), outcomes, (0.9, 0.1, 0.5), strict=True)]
    pool = tmp_path / "pool.parquet"
    write_rows(pool, rows)
    command = ["dpo", "--policy", str(model_dir), "--solutions", str(pool), "--rank-by", "correct", "--out",
               str(tmp_path / "out"), "--max-steps", "1"]
    assert main([*command, "--pairs", "steps"]) == 2
    assert "expected --pairs solutions and no --prm, found --pairs steps" in capsys.readouterr().err
    assert main(command) == 0
    pairs = [json.loads(line) for line in (tmp_path / "out" / "pairs.jsonl").read_text().splitlines()]
    assert [(pair["prompt"], pair["chosen"], pair["rejected"]) for pair in pairs] == [
        ("p?\n", "two", "one"), ("q?\n", "three", "two")]
    write_rows(pool, [dataclasses.replace(row, outcome=None) for row in rows])
    assert main([*command[:-3], str(tmp_path / "other")]) == 2
    assert f"{pool}: row 1: expected an outcome for --rank-by correct" in capsys.readouterr().err


def test_several_solutions_of_a_problem_may_be_kept_but_no_two_equal_ones() -> None:
    rows = [StepRow("q", (text,), problem_id="p") for text in ("a", "b", "a", "c")] + [StepRow("r", ("d",))]
    scores = [0.5, 0.9, 0.7, 0.6, 0.1]
    assert [row.steps[0] for row in best_solutions(rows, scores, keep=2)] == ["b", "a", "d"]
    assert [row.steps[0] for row in best_solutions(rows, scores, keep=0, minimum=0.6)] == ["b", "a", "c"]
