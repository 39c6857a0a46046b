"""Rows per second of scoring: one row at a time, padded batches, and `PRMScorer`, on the same model and rows.

    python bench/score.py                                             # this machine's shapes
    python bench/score.py --vllm --out bench/results/score.json       # vLLM's step pooling besides, where installed

Random weights, rows of random digits with lengths drawn as below. "candidates" are 64 solutions a problem that share
their question and, often, their first steps, as when a pool is scored for best-of-N; "unrelated" are rows that share
nothing. One row at a time is the stock token classification model called with each row; "padded" is the same in batches
of similar length. Providers are interleaved and the median of their runs is reported; before anything is timed, all
must give the same scores.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForTokenClassification, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from erprm.prm.export import export
from erprm.prm.model import PRM
from erprm.prm.scorer import PRMScorer

Row = tuple[str, list[str]]
Score = Callable[[Sequence[Row]], list[np.ndarray]]


@dataclass(frozen=True)
class Shape:
    """A model and lengths in tokens (characters: the tokenizer is byte-level)."""

    name: str
    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    question: int
    step: int
    steps: int
    rows: int
    alone: int  # rows that are scored one at a time
    dtype: str
    batch_tokens: int


CPU = (Shape("1M", 128, 384, 5, 4, 4, 512, 20, 10, 3, 256, 64, "float32", 2048),)
GPU = (Shape("Llama-3.2-1B", 2048, 8192, 16, 32, 8, 128256, 80, 30, 5, 8192, 256, "bfloat16", 32768),
       Shape("Llama-3.1-8B", 4096, 14336, 32, 32, 8, 128256, 80, 30, 5, 4096, 128, "bfloat16", 32768))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("bench/results/score.json"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--vllm", action="store_true")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    results = [measure(shape, pool, device, given.runs, given.vllm)
               for shape in (GPU if device == "cuda" else CPU) for pool in ("candidates", "unrelated")]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps({"machine": machine(device), "results": results}, indent=2) + "\n")
    for result in results:
        rates = ", ".join(f"{name} {value['rows_per_second']:,.0f}" for name, value in result["providers"].items())
        print(f"{result['shape']['name']}, {result['pool']}: rows/s: {rates}; "
              f"{result['speedup']:.1f} x one at a time, largest difference {result['largest_difference']:.1e}")
    print(given.out)


def measure(shape: Shape, pool: str, device: str, runs: int, vllm: bool) -> dict[str, object]:
    """Rows per second of every provider on one pool of rows."""
    rows = make_rows(shape, pool)
    with tempfile.TemporaryDirectory() as folder:
        save(shape, Path(folder) / "prm")
        scorer = PRMScorer(Path(folder) / "prm", device=device, batch_tokens=shape.batch_tokens)
        stock = AutoModelForTokenClassification.from_pretrained(Path(folder) / "prm").eval().to(device)
        providers: dict[str, tuple[Score, Sequence[Row]]] = {
            "one at a time": (lambda some: padded(stock, scorer, some, 1), rows[: shape.alone]),
            "padded": (lambda some: padded(stock, scorer, some, shape.batch_tokens), rows),
            "PRMScorer": (scorer.score, rows)}
        if vllm:
            export(Path(folder) / "prm", Path(folder) / "causal", "causal-lm")
            engine = PRMScorer(Path(folder) / "causal", "vllm", dtype=shape.dtype,
                               vllm_options={"max_model_len": 1024})
            providers["vLLM"] = (engine.score, rows)
        scores = {name: np.concatenate(score(some)[: shape.alone]) for name, (score, some) in providers.items()}
        seconds: dict[str, list[float]] = {name: [] for name in providers}
        for _ in range(runs):
            for name, (score, some) in providers.items():
                start = time.perf_counter()
                score(some)
                seconds[name].append(time.perf_counter() - start)
    rates = {name: summary(times, len(providers[name][1])) for name, times in seconds.items()}
    difference = max(float(np.abs(other - scores["one at a time"]).max()) for other in scores.values())
    return {"shape": asdict(shape), "pool": pool, "rows": len(rows), "providers": rates,
            "largest_difference": difference, "computed_share": scorer.report.computed / scorer.report.tokens,
            "speedup": rates["PRMScorer"]["rows_per_second"] / rates["one at a time"]["rows_per_second"]}


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


def make_rows(shape: Shape, pool: str, seed: int = 0) -> list[Row]:
    """Rows of random digits; each candidate's step is one of a few of its problem's with falling probability."""
    rng = np.random.default_rng(seed)
    each = 64 if pool == "candidates" else 1

    def text(length: int) -> str:
        return "".join(rng.choice(list("0123456789+-*/="), max(1, int(rng.normal(length, length / 4)))))

    rows: list[Row] = []
    for _ in range(shape.rows // each):
        question, known = text(shape.question), [text(shape.step) for _ in range(8)]
        for _ in range(each):
            own = [text(shape.step) for _ in range(int(rng.poisson(shape.steps - 1)))]
            rows.append((question, [known[min(int(rng.geometric(0.3)) - 1, 7)], *own]))
    return rows


def save(shape: Shape, folder: Path) -> None:
    """A PRM with random weights and a byte-level tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.inner,
                         num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
                         num_key_value_heads=shape.kv_heads, max_position_embeddings=1024, tie_word_embeddings=True,
                         initializer_range=shape.hidden ** -0.5)
    tokenizer = byte_tokenizer()
    device = "cuda" if torch.cuda.is_available() else "cpu"
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


def summary(seconds: list[float], rows: int) -> dict[str, float]:
    """Median rate, and the quintiles of the time."""
    low, high = np.quantile(seconds, [0.2, 0.8])
    return {"rows": rows, "p20_s": float(low), "p50_s": statistics.median(seconds), "p80_s": float(high),
            "rows_per_second": rows / statistics.median(seconds)}


def machine(device: str) -> dict[str, object]:
    """What the figures were measured on."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=False).stdout
    return {"device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(), "torch": torch.__version__, "transformers": transformers.__version__,
            "commit": commit, "dirty": bool(dirty)}


if __name__ == "__main__":
    main()
