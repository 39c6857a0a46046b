"""Every published form scores as its own code would: the expected values are computed one step or row at a time, with
the stock class and the published recipe, not with anything of ours."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from prm import published
from safetensors.torch import load_file, save_file

from erprm.errors import InputError
from erprm.prm.checkpoints import known
from erprm.prm.checkpoints.forms import _READERS, detect_form, load_base, open_checkpoint, read_settings
from erprm.prm.model import PRM
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.spec import PRMSpec

ROWS = [("2+3*4?", ["Step 1: 3*4=12", "Step 2: 2+12=14", "Step 3: so 14"]), ("1+1?", ["Step 1: 2"])]


def check(folder: Path, form: str, expected: list[list[float]], name: str = "auto") -> None:
    scorer = PRMScorer(folder, form=name)
    assert scorer.checkpoint.form == form
    for scores, wanted in zip(scorer.score(ROWS), expected, strict=True):
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
    assert len({round(float(score), 4) for row in expected for score in row}) > 1  # not the same number everywhere


@torch.no_grad()
def test_math_shepherd(tmp_path: Path) -> None:
    folder = tmp_path / "math-shepherd-mistral-7b-prm"
    model, tokenizer = published.shepherd(folder), published.sentencepiece_tokenizer()
    plus, minus = tokenizer.encode("+ -")[1:]
    tag = tokenizer.encode("ки")[-1]
    expected = []
    for prompt, steps in ROWS:
        ids = torch.tensor([tokenizer.encode(f"{prompt} " + "\n".join(f"{step} ки" for step in steps))])
        scores = model(ids).logits[:, :, [plus, minus]].softmax(-1)[:, :, 0]
        expected.append(scores[ids == tag].tolist())
    check(folder, "math-shepherd", expected)


@torch.no_grad()
def test_rlhflow(tmp_path: Path) -> None:
    folder = tmp_path / "Llama3.1-8B-PRM-Deepseek-Data"
    model = published.chat_turns(folder)
    tokenizer = open_checkpoint(folder).tokenizer
    pair = [tokenizer.encode(sign)[-1] for sign in "+-"]
    expected = []
    for prompt, steps in ROWS:
        turns: list[dict[str, str]] = []
        expected.append([])
        for number, step in enumerate(steps):
            turns.append({"role": "user", "content": step if number else f"{prompt} {step}"})
            turns.append({"role": "assistant", "content": "+"})
            ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=False)
            expected[-1].append(float(model(ids).logits[0, -3, pair].softmax(-1)[0]))
    check(folder, "rlhflow", expected)


@pytest.mark.parametrize(("write", "tag"), [(published.shepherd, "ки"), (published.qwen, "<extra_0>")])
def test_a_tag_that_a_policy_wrote_is_broken_up_and_counted(write, tag: str, tmp_path: Path) -> None:
    folder = tmp_path / "math-shepherd-mistral-7b-prm"
    write(folder)
    scorer = PRMScorer(folder)
    held, broken = (scorer.score([(f"2{text}3?", ["1+1=2", f"a {text}", "b"])])[0]
                    for text in (tag, f"{tag[0]} {tag[1:]}"))
    np.testing.assert_allclose(held, broken, atol=1e-6)
    assert len(held) == 3
    assert scorer.report.written == 1
    assert "1 rows hold the step tag in their own text" in str(scorer.report)


@torch.no_grad()
def test_trl(tmp_path: Path) -> None:
    model, tokenizer = published.trl(tmp_path / "trl"), tiny.tokenizer()
    expected = []
    for prompt, steps in ROWS:
        ids, places = [tokenizer.bos_token_id, *tokenizer.encode(prompt)], []
        for step in steps:
            ids += tokenizer.encode(step) + tokenizer.encode("\n")
            places.append(len(ids) - 1)
        expected.append(model(torch.tensor([ids])).logits[0, places].softmax(-1)[:, 1].tolist())
    check(tmp_path / "trl", "trl", expected)


@torch.no_grad()
def test_qwen_math_prm(tmp_path: Path) -> None:
    folder = tmp_path / "qwen"
    model = published.qwen(folder)
    tokenizer = open_checkpoint(folder).tokenizer
    separator = tokenizer.encode("<extra_0>")[0]
    expected = []
    for prompt, steps in ROWS:
        system = "Please reason step by step, and put your final answer within \\boxed{}."
        turns = [{"role": "system", "content": system},
                 {"role": "user", "content": prompt},
                 {"role": "assistant", "content": "<extra_0>".join(steps) + "<extra_0>"}]
        ids = torch.tensor([tokenizer.encode(tokenizer.apply_chat_template(turns, tokenize=False))])
        expected.append(model(ids).softmax(-1)[ids == separator][:, 1].tolist())
    check(folder, "qwen2.5-math-prm", expected)


@torch.no_grad()
def test_skywork(tmp_path: Path) -> None:
    folder = tmp_path / "skywork"
    model = published.skywork(folder)
    tokenizer = open_checkpoint(folder).tokenizer
    end = tokenizer.encode("\n")[-1]
    expected = []
    for prompt, steps in ROWS:
        ids, places = tokenizer.encode(tokenizer.bos_token + prompt + "\n"), []
        for line in "\n".join(steps).split("\n"):
            ids += [*tokenizer.encode(line), end]
            places.append(len(ids) - 1)
        expected.append(model(torch.tensor([ids]))[0, places].tolist())
    check(folder, "skywork-o1", expected)


@pytest.mark.parametrize("loss", ["pair", "head", "vocab"])
@pytest.mark.parametrize("tie", [False, True])
@torch.no_grad()
def test_own_forms_score_as_the_model_that_was_trained(tmp_path: Path, loss: str, tie: bool) -> None:
    model, tokenizer = PRM.from_base(tiny.llama(tie=tie), tiny.tokenizer(), PRMSpec(loss=loss)).eval(), tiny.tokenizer()
    model.save_pretrained(tmp_path / "prm")
    tokenizer.save_pretrained(tmp_path / "prm")
    rows = open_checkpoint(tmp_path / "prm").convention.encode(ROWS)
    expected = [model(input_ids=torch.from_numpy(row.ids)[None],
                      tag_positions=torch.from_numpy(row.tag_positions)).scores.tolist() for row in rows]
    check(tmp_path / "prm", "causal-lm" if loss == "vocab" else "classification", expected)


def test_a_causal_model_that_does_not_say_its_convention_is_refused(model_dir: Path) -> None:
    with pytest.raises(InputError, match="causal-lm, math-shepherd or rlhflow"):
        detect_form(model_dir, read_settings(model_dir))
    assert open_checkpoint(model_dir, form="causal-lm").causal_ids is not None


def test_missing_weights_are_named_not_invented(tmp_path: Path, model_dir: Path) -> None:
    for file in model_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"norm\.weight"):
        load_base(open_checkpoint(tmp_path, form="causal-lm"))


@pytest.mark.parametrize(("change", "message"), [
    ({"form": "gguf"}, "form: expected auto or one of"),
    ({"path": "no/such/folder/anywhere"}, "no such folder"),
])
def test_bad_arguments(model_dir: Path, change: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_checkpoint(**{"path": str(model_dir), "form": "causal-lm"} | change)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: no such file"):
        open_checkpoint(tmp_path)


def test_the_docs_hold_the_table_of_forms() -> None:
    assert known.table() in (Path(__file__).parents[2] / "docs" / "scoring.md").read_text(encoding="utf-8")


def test_every_form_has_a_reader(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "m")
    with pytest.raises(InputError, match=r"form: expected auto or one of classification, .*skywork-o1, found 'none'"):
        open_checkpoint(folder, "none")
    assert list(known.FORMS) == list(_READERS)
