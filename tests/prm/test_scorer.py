"""Scores do not depend on how rows are batched, keep their order and their place in the file, and are never NaN."""

import dataclasses
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from erprm.cli import main
from erprm.errors import InputError
from erprm.prm.attention.paths import PathGroup
from erprm.prm.model import PRM
from erprm.prm.rows.tokens import EncodedRow
from erprm.prm.scoring.batches import ScoreBatch, plan_batches
from erprm.prm.scoring.cost import Cost
from erprm.prm.scoring.files import score_file
from erprm.prm.scoring.scorer import PRMScorer
from erprm.rows import StepRow, read_rows, row_scores, write_rows

FIRST = ["3*4=12", "2+3=5", "nothing useful"]


def candidates(problems: int = 4, each: int = 9) -> list[tuple[str, list[str]]]:
    """Solutions that share questions and steps, some of them equal, of several lengths."""
    rng = np.random.default_rng(0)
    return [(f"{problem}+3*{problem}? use every number once", [FIRST[rng.integers(3)]] +
             [f"{rng.integers(3)}+{rng.integers(2)}" for _ in range(rng.integers(5))])
            for problem in range(problems) for _ in range(each)]


@torch.no_grad()
def alone(prm_dir: Path, rows: list[tuple[str, list[str]]]) -> list[np.ndarray]:
    """The stock class on one row at a time."""
    from transformers import AutoModelForTokenClassification

    model = AutoModelForTokenClassification.from_pretrained(prm_dir).eval()
    scores = []
    for row in PRMScorer(prm_dir).checkpoint.convention.encode(rows):
        logits = model(input_ids=torch.from_numpy(row.ids)[None]).logits[0, torch.from_numpy(row.tag_positions)]
        scores.append(logits.softmax(-1)[:, 1].numpy())
    return scores


@pytest.mark.parametrize("share", [True, False, None])
@pytest.mark.parametrize("batch_tokens", [1, 100, 4096])
def test_batched_scores_are_those_of_one_row_at_a_time(prm_dir: Path, share: bool | None, batch_tokens: int) -> None:
    rows = candidates()
    scores = PRMScorer(prm_dir, share=share, batch_tokens=batch_tokens, device="cpu").score(rows)
    for found, wanted in zip(scores, alone(prm_dir, rows), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_shared_prefixes_are_computed_once(prm_dir: Path) -> None:
    rows = candidates(2, 16)
    shared, separate = PRMScorer(prm_dir, device="cpu"), PRMScorer(prm_dir, share=False, device="cpu")
    shared.score(rows)
    separate.score(rows)
    assert shared.report.tokens == separate.report.tokens
    assert shared.report.computed < 0.6 * separate.report.computed


def test_key_heads_that_several_heads_share(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = tiny.llama().config
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 4, 2, 16
    PRM.from_base(LlamaForCausalLM(config), tiny.tokenizer()).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    rows = candidates(2, 4)
    for found, wanted in zip(PRMScorer(tmp_path, share=True, device="cpu").score(rows), alone(tmp_path, rows),
                             strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_half_precision_stays_close(prm_dir: Path) -> None:
    rows = candidates()
    exact = np.concatenate(PRMScorer(prm_dir, device="cpu").score(rows))
    half = np.concatenate(PRMScorer(prm_dir, dtype="bfloat16", device="cpu").score(rows))
    assert half.dtype == np.float32
    assert np.abs(exact - half).max() < 0.05


def test_no_vocabulary_matrix_is_ever_multiplied(prm_dir: Path) -> None:
    scorer = PRMScorer(prm_dir, device="cpu")
    shapes = {tuple(weight.shape) for name, weight in scorer.forward.base.named_parameters() if "embed" not in name}
    assert not any(scorer.checkpoint.config.vocab_size in shape for shape in shapes)


def test_a_stream_is_scored_in_windows_and_in_order(prm_dir: Path) -> None:
    rows, read = candidates(), []

    def source():
        for row in rows:
            read.append(row)
            yield row

    scorer = PRMScorer(prm_dir, device="cpu")
    stream = scorer.stream(source(), window=5)
    first = next(stream)
    assert len(read) == 5
    together = [first, *stream]
    for found, wanted in zip(together, scorer.score(rows), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_a_long_row_is_an_error_or_cut_at_a_step(prm_dir: Path) -> None:
    rows = [("1?", ["2", "3"]), ("1?", ["22", "x" * 40, "4"])]
    with pytest.raises(InputError, match=r"row 2: expected at most 30 tokens, found"):
        PRMScorer(prm_dir, max_length=30, device="cpu").score(rows)
    scorer = PRMScorer(prm_dir, max_length=30, too_long="cut", device="cpu")
    scores = scorer.score(rows)
    assert [len(row) for row in scores] == [2, 1]
    assert scorer.report.cut == 1
    np.testing.assert_allclose(scores[1], PRMScorer(prm_dir, device="cpu").score(rows)[1][:1], atol=1e-6)
    with pytest.raises(InputError, match="not even its first step"):
        scorer.score([("1?", ["x" * 40])])


def test_bad_rows_are_named(prm_dir: Path) -> None:
    scorer = PRMScorer(prm_dir, device="cpu")
    with pytest.raises(InputError, match="row 2: expected at least one step"):
        scorer.score([("1?", ["1"]), ("1?", [])])
    with pytest.raises(InputError, match=r"row 2 \(s7\): .*at most 1024 tokens, found 2004"):
        scorer.score([StepRow("1?", ("1",)), StepRow("1?", ("a" * 2000,), solution_id="s7")])


def test_a_score_that_is_nan_is_an_error_naming_the_row(prm_dir: Path) -> None:
    scorer = PRMScorer(prm_dir, device="cpu")
    rows = [("1?", ["1"]), ("1?", ["2", "~"])]
    odd = scorer.checkpoint.tokenizer("~").input_ids[0]
    scorer.forward.base.get_input_embeddings().weight[odd] = float("nan")
    with pytest.raises(InputError, match=r"row 2: step \d: .* found nan"):
        scorer.score(rows)


@pytest.mark.parametrize(("change", "message"), [
    ({"engine": "gguf"}, "engine: expected one of"),
    ({"dtype": "int8"}, "dtype: expected one of"),
    ({"too_long": "drop"}, "too_long: expected one of"),
    ({"batch_tokens": 0}, "batch_tokens: expected a positive"),
    ({"max_length": 9999}, "at most the model's 1024 positions"),
    ({"engine": "vllm"}, "erprm export --to causal-lm"),
    ({"engine": "vllm", "device": "cpu"}, "device: vLLM decides that itself"),
    ({"engine": "vllm", "batch_tokens": 99}, r"batch_tokens: vLLM .*max_num_batched_tokens"),
    ({"engine": "vllm", "share": False}, "share: vLLM"),
    ({"vllm_options": {"max_model_len": 9}}, "expected none with the engine transformers, found max_model_len"),
])
def test_bad_arguments(prm_dir: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PRMScorer(prm_dir, **change)


def causal(batch: ScoreBatch) -> dict[int, np.ndarray]:
    """The keys that each token of a batch attends to, by its groups or as plain causal rows."""
    if batch.groups is None:
        width = batch.ids.shape[1]
        return {place: np.arange(place - place % width, place + 1) for place in range(batch.ids.size)}
    return dict(attended(batch.groups))


def asked(batch: ScoreBatch, tag: int, sees: dict[int, np.ndarray]) -> np.ndarray:
    """The keys of a tag in the last block, where only tags ask."""
    return sees[int(batch.tags[tag])] if batch.tag_groups is None else dict(attended(batch.tag_groups))[tag]


def attended(groups: list[PathGroup]) -> Iterator[tuple[int, np.ndarray]]:
    for group in groups:
        for row, place in zip(*np.nonzero(group.queries >= 0), strict=True):
            yield int(group.queries[row, place]), group.keys[row, : group.seen[row, place]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=14), st.integers(1, 40),
       st.sampled_from([True, False, None]), st.sampled_from([0.0, 20.0, 1e9]))
def test_every_step_is_scored_once_and_sees_its_own_row(texts: list[list[int]], batch_tokens: int,
                                                        share: bool | None, call: float) -> None:
    rows = [EncodedRow(np.array(ids), np.unique([len(ids) // 2, len(ids) - 1])) for ids in texts]
    firsts = np.cumsum([0] + [len(row.tag_positions) for row in rows])
    seen = []
    plan = plan_batches(rows, Cost(100.0, 1.0, 1.0, call), batch_tokens=batch_tokens, share=share)
    for batch in plan.batches():
        sees = causal(batch)
        for step, tag in zip(batch.steps, batch.tag_of_step, strict=True):
            row = int(np.searchsorted(firsts, step, side="right")) - 1
            position = rows[row].tag_positions[step - firsts[row]]
            for keys in (sees[int(batch.tags[tag])], asked(batch, int(tag), sees)):
                np.testing.assert_array_equal(batch.ids.ravel()[keys], rows[row].ids[: position + 1])
                np.testing.assert_array_equal(batch.positions.ravel()[keys], np.arange(position + 1))
            seen.append(int(step))
    assert sorted(seen) == list(range(firsts[-1]))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_score_command_keeps_rows_and_order(prm_dir: Path, tmp_path: Path, suffix: str,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    rows = [StepRow(prompt, tuple(steps), solution_id=str(number), outcome=1.0, extra={"note": "kept"})
            for number, (prompt, steps) in enumerate(candidates())]
    write_rows(tmp_path / "rows.jsonl", rows)
    out = tmp_path / f"scored{suffix}"
    assert main(["score", "--model", str(prm_dir), "--rows", str(tmp_path / "rows.jsonl"), "--out", str(out),
                 "--part-rows", "10", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    found = list(read_rows(out))
    expected = PRMScorer(prm_dir, device="cpu").score(rows)
    for row, before, scores in zip(found, rows, expected, strict=True):
        np.testing.assert_allclose(row_scores(row), scores, atol=1e-5)
        assert dataclasses.replace(row, scores=None) == before
    assert not (tmp_path / f"scored{suffix}.parts").exists()


def test_killed_scoring_goes_on_where_it_stopped(prm_dir: Path, tmp_path: Path) -> None:
    """`kill -9` of a real process at the moment when its third part would get its name."""
    rows = [StepRow(prompt, tuple(steps)) for prompt, steps in candidates()]
    write_rows(tmp_path / "rows.jsonl", rows)
    out, parts = tmp_path / "scored.jsonl", tmp_path / "scored.jsonl.parts"
    code = ("import os, signal, sys\n"
            "from erprm.prm.scoring.scorer import PRMScorer\n"
            "from erprm.prm.scoring.files import score_file\n"
            "def watch(event, given):\n"
            "    if event == 'os.rename' and str(given[1]).endswith('parts/000003.jsonl'):\n"
            "        os.kill(os.getpid(), signal.SIGKILL)\n"
            "sys.addaudithook(watch)\n"
            "score_file(PRMScorer(sys.argv[1], device='cpu'), sys.argv[2], sys.argv[3], identity={'model': 'a'},\n"
            "           part_rows=10)\n")
    killed = subprocess.run([sys.executable, "-c", code, str(prm_dir), str(tmp_path / "rows.jsonl"), str(out)],
                            check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(path.name for path in parts.glob("parts/0*.jsonl")) == ["000001.jsonl", "000002.jsonl"]
    assert not out.exists()
    scorer = PRMScorer(prm_dir, device="cpu")
    with pytest.raises(InputError, match="other settings: model: store has a, asked for b"):
        score_file(scorer, tmp_path / "rows.jsonl", out, identity={"model": "b"}, part_rows=10)
    assert score_file(scorer, tmp_path / "rows.jsonl", out, identity={"model": "a"}, part_rows=10) == 16
    for row, scores in zip(read_rows(out), scorer.score(rows), strict=True):
        np.testing.assert_allclose(row_scores(row), scores, atol=1e-5)


@pytest.mark.parametrize(("line", "message"), [
    ('{"prompt": "1?", "steps": []}', "rows.jsonl:2: steps: expected at least one step"),
    (json.dumps({"prompt": "1?", "steps": ["a" * 2000]}), "rows.jsonl: row 2: "),
    ("{", "rows.jsonl:2: expected one JSON object"),
])
def test_bad_files_are_one_line_and_exit_code_2(prm_dir: Path, tmp_path: Path, line: str, message: str,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "1?", "steps": ["1"]}) + "\n" + line + "\n")
    command = ["score", "--model", str(prm_dir), "--rows", str(tmp_path / "rows.jsonl"), "--out",
               str(tmp_path / "o.jsonl")]
    assert main([*command, "--part-rows", "1"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in last
    assert not (tmp_path / "o.jsonl").exists()


@pytest.mark.vllm
@pytest.mark.slow
def test_vllm_scores_as_transformers_does(prm_dir: Path, tmp_path: Path) -> None:
    from erprm.prm.export import export

    export(prm_dir, tmp_path / "causal", "causal-lm")
    rows = candidates(2, 5)
    write_rows(tmp_path / "rows.jsonl", [StepRow(prompt, tuple(steps)) for prompt, steps in rows])
    assert main(["score", "--model", str(tmp_path / "causal"), "--rows", str(tmp_path / "rows.jsonl"), "--out",
                 str(tmp_path / "scored.jsonl"), "--engine", "vllm", "--engine-options", "max-model-len=256"]) == 0
    wanted = PRMScorer(prm_dir, device="cpu").score(rows)
    for row, scores in zip(read_rows(tmp_path / "scored.jsonl"), wanted, strict=True):
        np.testing.assert_allclose(row_scores(row), scores, atol=1e-5)


def test_torchrun_is_refused_with_the_command_to_use(prm_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert main(["score", "--model", str(prm_dir), "--rows", "rows.jsonl", "--out", str(tmp_path / "out.jsonl")]) == 2
    message = capsys.readouterr().err
    assert "--engine ray:transformers --engine-options actors=4" in message
    assert "--engine vllm --engine-options tensor_parallel_size=4" in message
