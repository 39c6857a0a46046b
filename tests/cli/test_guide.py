"""`erprm guide` with a real policy that writes the step tag, and every command with a chat template that refuses."""

import json
import re
from pathlib import Path

import pytest
import tiny
import torch
from transformers import LlamaForCausalLM

from erprm.cli import main
from erprm.prm.model import PRM
from erprm.rows import StepRow, read_rows, write_rows


@pytest.mark.parametrize(("method", "longest"), [("beam", 30), ("smc", 30), ("q-sharp", 60)])
def test_a_policy_that_writes_the_tag_and_candidates_that_are_too_long(method: str, longest: int, tmp_path: Path,
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    """A tag in a text is spelled in other tokens and counted; a candidate beyond the model's length is lost alone."""
    policy, tokenizer = tiny.llama(), tiny.tokenizer()
    tag = tokenizer(tiny.TAG, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        policy.lm_head.weight[tag] = policy.lm_head.weight.abs().mean() * 60 * policy.lm_head.weight[tag].sign()
    policy.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    config = tiny.llama().config
    config.max_position_embeddings = longest
    PRM.from_base(LlamaForCausalLM(config).eval(), tokenizer).save_pretrained(tmp_path / "prm")
    tokenizer.save_pretrained(tmp_path / "prm")
    problems, out = tmp_path / "problems.jsonl", tmp_path / "out.jsonl"
    problems.write_text("".join(json.dumps({"id": str(i), "question": f"{i}+3?", "answer": "1"}) + "\n"
                                for i in range(4)))
    assert main(["guide", "--problems", str(problems), "--policy", str(tmp_path / "policy"), "--prm",
                 str(tmp_path / "prm"), "--method", method, "--width", "2", "--expand", "4",
                 "--max-steps", "2", "--max-tokens", "12", "--show", "1",
                 "--workers", "1", "--part-problems", "3", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"candidates that the model cannot read were lost in this run; the first: '\d\+3\?': row \d+: "
                     f"expected at most {longest} tokens", shown)
    assert "hold the step tag" in shown
    assert "prompt, 5 tokens (plain):\n   15 0  10 +  18 3  30 ?  198 Ċ\n" in shown
    assert "\nsolution " in shown
    rows = list(read_rows(out))
    assert rows
    assert any(tiny.TAG in step for row in rows for step in row.steps)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "policy", "prm", "problems.jsonl"]


@pytest.mark.parametrize(("command", "engine"), [
    *((command, "transformers") for command in ("sample", "label", "guide", "sft", "raft", "dpo")),
    *(pytest.param(command, "vllm", marks=pytest.mark.vllm) for command in ("sample", "label", "guide")),
    *(pytest.param(command, "ray:transformers", marks=pytest.mark.ray) for command in ("sample", "label", "guide"))])
def test_a_chat_template_that_refuses_a_system_turn_is_one_line_before_weights_are_read(
        command: str, engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy, tokenizer = tmp_path / "policy", tiny.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    tiny.llama().config.save_pretrained(policy)  # there are no weights to read
    tokenizer.save_pretrained(policy)
    write_rows(tmp_path / "rows.jsonl", [StepRow("0+3?", ("0+3=3",), outcome=1.0, problem_id="0")])
    (tmp_path / "problems.jsonl").write_text('{"id": "0", "question": "0+3?", "answer": "3"}\n')
    problems, rows, prm = (str(tmp_path / name) for name in ("problems.jsonl", "rows.jsonl", "prm"))
    words = {"sample": ["--problems", problems], "label": ["--problems", problems, "--solutions", rows],
             "guide": ["--problems", problems, "--prm", prm], "sft": ["--data", rows],
             "raft": ["--solutions", rows, "--prm", prm], "dpo": ["--solutions", rows, "--prm", prm]}[command]
    writer = [] if command in ("sft", "raft", "dpo") else ["--engine", engine, "--workers", "1"]
    model = "--model" if command == "sft" else "--policy"
    capsys.readouterr()
    assert main([command, model, str(policy), *words, *writer, "--prompt", "chat", "--system", "Be brief.", "--out",
                 str(tmp_path / "out.jsonl")]) == 2
    assert "the model's chat template refuses the turns system, user: System role not supported" in \
        capsys.readouterr().err.splitlines()[-1]
