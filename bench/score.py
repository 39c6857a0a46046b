"""Time of scoring a pool: one row at a time, padded batches, vLLM's step pooling, and `PRMScorer`; same model and rows.

    python bench/score.py                          # this machine's shapes, into bench/results/
    python bench/score.py --vllm                   # vLLM's step pooling besides, where it is installed
    python bench/score.py --vocabulary 262144      # Gemma's vocabulary, and the paper's form besides

Random weights, rows of random digits. "score" are 64 solutions a problem that share their question and, often, their
first step, as when a pool is scored for best-of-N; "score_unrelated" are rows that share nothing. On a CPU their
numbers of tokens and steps have the means and spreads of GSM8K's questions and reference solutions (7,473 of them; a
token is a word, number or sign). One row at a time is: tokenise a row, call the stock token classification model, then
the next row. "padded" is the same model on batches of similar length; "paper" is the exported causal language model one
row at a time, all logits of the vocabulary, of which two columns are read at the tags; vLLM scores the exported model
in a process of its own, with as many threads, kept from spinning. Providers are interleaved and the median of their
runs is reported; before anything is timed, all must give the same scores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import common
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForTokenClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from erprm.prm.export import export
from erprm.prm.model import PRM
from erprm.prm.scoring.scorer import PRMScorer

Row = tuple[str, list[str]]
Score = Callable[[Sequence[Row]], list[np.ndarray]]
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.05}  # largest difference of a score


@dataclass(frozen=True)
class Shape:
    """A model, and means of tokens and steps (a token is a character: the tokenizer is byte-level)."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    question: int
    step: int
    steps: float
    rows: int
    dtype: str
    batch_tokens: int


CPU = (Shape("1M", 128, 384, 5, 4, 4, 512, 53, 14, 4.6, 256, "float32", 2048),)
GPU = (Shape("Llama-3.2-1B", 2048, 8192, 16, 32, 8, 128256, 80, 30, 5, 1024, "bfloat16", 32768),
       Shape("Llama-3.1-8B", 4096, 14336, 32, 32, 8, 128256, 80, 30, 5, 512, "bfloat16", 32768))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="result file; bench/results/<machine>-<date>.json by default")
    parser.add_argument("--smoke", action="store_true", help="one run of one problem, only to see that it works")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--vllm", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", choices=[shape.name for shape in CPU + GPU], help="one shape; the device's if unset")
    parser.add_argument("--rows", type=int, help="rows of a pool, in whole problems of 64; the shape's if unset")
    parser.add_argument("--vocabulary", type=int, help="tokens of the vocabulary; the shape's if unset")
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "DTYPE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(Path(given.serve[0]), given.serve[1])
        return
    shapes = GPU if given.device == "cuda" else CPU
    if given.shape is not None:
        shapes = tuple(shape for shape in CPU + GPU if shape.name == given.shape)
    rows, runs = (64, 1) if given.smoke else (given.rows, given.runs)
    if rows is not None:
        shapes = tuple(replace(shape, rows=rows) for shape in shapes)
    pools = {"score": "score", "score_unrelated": "score_unrelated"}
    if given.vocabulary is not None:
        shapes = tuple(replace(shape, vocabulary=given.vocabulary) for shape in shapes)
        pools = {"score": f"score_{given.vocabulary // 1000}k"}
    records = [record for shape in shapes for pool, bench in pools.items()
               for record in measure(shape, pool, bench, given.device, runs, given.vllm)]
    print(common.table(records))
    for pool in pools.values():
        found = {record.provider: record.p50 for record in records if record.bench == pool and record.p50}
        print(f"{pool}: erprm is " + ", ".join(f"{time / found['erprm']:.2f} x {name}" for name, time in found.items()
                                               if name != "erprm"))
    print(common.write(records, given.output))


def measure(shape: Shape, pool: str, bench: str, device: str, runs: int, vllm: bool) -> list[common.Record]:
    """Every provider on one pool of rows."""
    large = bench != pool  # the paper's form is timed where the vocabulary is what is asked about
    rows = make_rows(shape, pool)
    with tempfile.TemporaryDirectory() as folder:
        save(shape, Path(folder) / "prm", device)
        scorer = PRMScorer(Path(folder) / "prm", device=device, batch_tokens=shape.batch_tokens)
        stock = AutoModelForTokenClassification.from_pretrained(Path(folder) / "prm").eval().to(device)
        providers: dict[str, Score] = {
            "one at a time": lambda some: [scores for row in some for scores in padded(stock, scorer, [row], 1)],
            "padded": lambda some: padded(stock, scorer, some, shape.batch_tokens),
            "erprm": scorer.score}
        if vllm or large:
            export(Path(folder) / "prm", Path(folder) / "causal", "causal-lm")
        if large:
            causal = AutoModelForCausalLM.from_pretrained(Path(folder) / "causal").eval().to(device)
            providers["paper"] = lambda some: full_vocabulary(causal, scorer, some)
        scores = {name: np.concatenate(score(rows)) for name, score in providers.items()}
        runners: dict[str, Callable[[], object]] = {
            name: (lambda score=score: score(rows)) for name, score in providers.items()}
        with contextlib.ExitStack() as opened:
            if vllm:
                other = opened.enter_context(OtherProcess(Path(folder), rows, shape.dtype))
                scores["vLLM"], runners["vLLM"] = other.scores, other.run
            agree(scores, shape.dtype)
            tokens = sum(len(row.ids) for row in scorer.checkpoint.convention.encode(rows))
            sizes = {"rows": len(rows), "tokens": tokens, "D": shape.hidden, "layers": shape.layers}
            return common.measure(bench, runners, device=device, dtype=shape.dtype, mode="whole", seconds=0.0,
                                  least=runs, shape=sizes | ({"V": shape.vocabulary} if large else {}))


class OtherProcess:
    """vLLM in a process of its own, which scores the rows once for each line that it reads."""

    def __init__(self, folder: Path, rows: Sequence[Row], dtype: str) -> None:
        (folder / "rows.json").write_text(json.dumps(rows))
        threads = str(torch.get_num_threads())
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(folder), dtype], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"})
        self.run()
        self.scores: np.ndarray = np.load(folder / "scores.npy")

    def __enter__(self) -> OtherProcess:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def run(self) -> None:
        """Score all rows once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("again\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "done\n":
            raise RuntimeError("vLLM's process ended; its messages are above")


def serve(folder: Path, dtype: str) -> None:
    """The other side of `OtherProcess`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM's own words
    rows = [(prompt, steps) for prompt, steps in json.loads((folder / "rows.json").read_text())]
    engine = PRMScorer(folder / "causal", "vllm", dtype=dtype, vllm_options={
        "max_model_len": 1024, "max_num_seqs": 512, "max_num_batched_tokens": 32768,
        "threads": int(os.environ["OMP_NUM_THREADS"])})
    np.save(folder / "scores.npy", np.concatenate(engine.score(rows)))
    for _ in sys.stdin:
        engine.score(rows)
        answers.write("done\n")
        answers.flush()


def agree(scores: dict[str, np.ndarray], dtype: str) -> None:
    """All scores are those of one row at a time.

    Raises:
        AssertionError: naming the provider and its largest difference.
    """
    for name, found in scores.items():
        difference = float(np.abs(found - scores["one at a time"]).max())
        assert difference <= TOLERANCE[dtype], f"{name}: scores differ by {difference:.1e}"


@torch.inference_mode()
def padded(model: torch.nn.Module, scorer: PRMScorer, rows: Sequence[Row], batch_tokens: int) -> list[np.ndarray]:
    """The stock model on batches of rows of similar length, padded on the right."""
    encoded = scorer.checkpoint.convention.encode(rows)
    order = sorted(range(len(rows)), key=lambda row: -len(encoded[row].ids))
    scores: list[np.ndarray] = [np.empty(0)] * len(rows)
    device = next(model.parameters()).device
    start = 0
    while start < len(order):
        width = len(encoded[order[start]].ids)
        group = order[start: start + max(1, batch_tokens // width)]
        ids = np.zeros((len(group), width), np.int64)
        for line, row in enumerate(group):
            ids[line, : len(encoded[row].ids)] = encoded[row].ids
        logits = model(input_ids=torch.from_numpy(ids).to(device)).logits.float()
        probabilities = logits.softmax(-1)[..., 1].cpu().numpy()
        for line, row in enumerate(group):
            scores[row] = probabilities[line, encoded[row].tag_positions]
        start += len(group)
    return scores


@torch.inference_mode()
def full_vocabulary(model: torch.nn.Module, scorer: PRMScorer, rows: Sequence[Row]) -> list[np.ndarray]:
    """The paper's form: one row at a time, all logits, two columns at the tags."""
    tokens = scorer.checkpoint.tokens
    assert tokens is not None
    device = next(model.parameters()).device
    scores = []
    for row in rows:
        [encoded] = scorer.checkpoint.convention.encode([row])
        logits = model(input_ids=torch.from_numpy(encoded.ids)[None].to(device)).logits[0, encoded.tag_positions]
        scores.append(logits[:, [tokens.plus_id, tokens.minus_id]].float().softmax(-1)[:, 0].cpu().numpy())
    return scores


def make_rows(shape: Shape, pool: str, seed: int = 0) -> list[Row]:
    """Rows of random digits; each candidate's first step is one of eight of its problem's with falling probability."""
    rng = np.random.default_rng(seed)
    each = 64 if pool == "score" else 1

    def text(mean: float, spread: float) -> str:  # GSM8K's spreads over its means: questions 0.38, steps 0.64
        length = max(1, round(rng.gamma(spread ** -2, mean * spread ** 2)))
        return "".join(rng.choice(list("0123456789+-*/="), length))

    rows: list[Row] = []
    for _ in range(shape.rows // each):
        question, known = text(shape.question, 0.38), [text(shape.step, 0.64) for _ in range(8)]
        for _ in range(each):
            own = [text(shape.step, 0.64) for _ in range(max(1, round(rng.normal(shape.steps - 1, 1.4))))]
            rows.append((question, [known[min(int(rng.geometric(0.3)) - 1, 7)], *own]))
    return rows


def save(shape: Shape, folder: Path, device: str) -> None:
    """A PRM with random weights and a byte-level tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.inner,
                         num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
                         num_key_value_heads=shape.kv_heads, max_position_embeddings=1024, tie_word_embeddings=True,
                         initializer_range=shape.hidden ** -0.5)
    tokenizer = byte_tokenizer()
    with torch.device(device):
        model = LlamaForCausalLM(config).to(getattr(torch, shape.dtype))
    PRM.from_base(model, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and one each for the tag and the labels."""
    alphabet = {char: index for index, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(text, normalized=False) for text in (" ки", " +", " -")])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", pad_token="<pad>")


if __name__ == "__main__":
    main()
