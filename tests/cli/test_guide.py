"""`erprm guide` with a real policy that writes the step tag, as policies trained on tagged solutions do."""

import json
from pathlib import Path

import pytest
import tiny
import torch

from erprm.cli import main
from erprm.prm.model import PRM
from erprm.rows import read_rows


@pytest.mark.parametrize("method", ["beam", "smc"])
def test_a_policy_that_writes_the_tag_loses_these_candidates_alone(method: str, tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    policy, tokenizer = tiny.llama(), tiny.tokenizer()
    tag = tokenizer(tiny.TAG, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        policy.lm_head.weight[tag] = policy.lm_head.weight.abs().mean() * 60 * policy.lm_head.weight[tag].sign()
    policy.save_pretrained(tmp_path / "policy")
    tokenizer.save_pretrained(tmp_path / "policy")
    PRM.from_base(tiny.llama(), tokenizer).save_pretrained(tmp_path / "prm")
    tokenizer.save_pretrained(tmp_path / "prm")
    problems, out = tmp_path / "problems.jsonl", tmp_path / "out.jsonl"
    problems.write_text("".join(json.dumps({"id": str(i), "question": f"{i}+3?", "answer": "1"}) + "\n"
                                for i in range(4)))
    assert main(["guide", "--problems", str(problems), "--policy", str(tmp_path / "policy"), "--prm",
                 str(tmp_path / "prm"), "--method", method, "--width", "2", "--expand", "4",
                 "--max-steps", "2", "--max-tokens", "12", "--show", "1",
                 "--workers", "1", "--part-problems", "3", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "candidates that the model cannot read were lost in this run; the first: '0+3?': row 1" in shown
    assert "prompt, 5 tokens (plain):\n   15 0  10 +  18 3  30 ?  198 Ċ\n" in shown
    assert "\nsolution 0/0, " in shown
    rows = list(read_rows(out))
    assert rows
    assert not any(tiny.TAG in step for row in rows for step in row.steps)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "policy", "prm", "problems.jsonl"]
