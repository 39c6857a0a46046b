"""`erprm guide` with a real policy that writes the step tag, as policies trained on tagged solutions do."""

import json
import re
from pathlib import Path

import pytest
import tiny
import torch
from transformers import LlamaForCausalLM

from erprm.cli import main
from erprm.prm.model import PRM
from erprm.rows import read_rows


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
