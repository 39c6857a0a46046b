"""What own machinery saves in processor time, in interleaved pairs: the sampling loop, shared prefixes, the last block.

    python bench/receipts.py --policy runs/demo/models/policy --prm runs/demo/models/prm-soft \\
        --problems runs/demo/problems/label.jsonl --rows runs/demo/pool.parquet

- sampling, labelling: 8 completions of each problem, or of each prefix of some rows, by the transformers engine
  (finished rows leave, new ones come) against stock `generate` in batches of as many rows, with a LogitsProcessor that
  draws by the same keyed numbers.
- scoring: the rows with shared prefixes computed once (paths) against length buckets; with as many common first steps
  put before them as `--common` says.
- scoring by trees: the same rows in the training's layout of prefix trees instead of paths, problems of about as many
  tokens a forward.
- scoring as it comes: what the scorer chooses by itself against length buckets.
- last block: a training step and scoring of a model of SmolLM2's width, with the last block at the tags only against
  everywhere.

One thread; user and system time of this process, so that other work on the machine counts little. Every pair's ratio is
kept.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import itertools
import json
import resource
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import RESULTS, environment
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, LogitsProcessor

import erprm.prm.model
from erprm.engines import Request, Sampling, load_engine
from erprm.engines.draw import draw
from erprm.prm.attention import tags_only
from erprm.prm.model import PRM
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.scoring.scorer import PRMScorer
from erprm.prm.spec import PRMSpec
from erprm.prm.training.batches import Collator
from erprm.prm.training.encode import encode_dataset
from erprm.problems import read_problems
from erprm.rows import StepRow, read_rows
from erprm.tokenizers import load_tokenizer
from erprm.values.spec import TargetSpec

PAIRS, BATCH, EACH = 3, 256, 8
ASKED = ("input_ids", "position_ids", "tag_positions", "ends", "tag_of_step")  # of a batch, for scores alone


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("policy", "prm", "problems", "rows"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--only", nargs="+", help="some of the measurements; by default all")
    parser.add_argument("--common", type=int, nargs="+", default=[0, 8])
    given = parser.parse_args()
    torch.set_num_threads(1)
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "scoring by trees": lambda: trees(given.prm, given.rows),
        "scoring as it comes": lambda: scoring(given.prm, given.rows, 0, None),
        **{f"scoring, {common} common steps before": partial(scoring, given.prm, given.rows, common)
           for common in given.common},
        "sampling": lambda: writing(given.policy, from_problems(given.problems)),
        "labelling": lambda: writing(given.policy, from_prefixes(given.rows)),
        **{f"{name}, {layers} layers": partial(last_block, layers, name == "training step")
           for layers in (4, 30) for name in ("training step", "scoring")}}
    found: dict[str, Any] = {}
    for name, measure in work.items():
        if given.only and name not in given.only:
            continue
        found[name] = result = measure()
        print(f"{name}: without it {result['ratio']:.2f} times as long ({min(result['pairs']):.2f} to "
              f"{max(result['pairs']):.2f})", flush=True)
        (RESULTS / "receipts.json").write_text(
            json.dumps({"environment": environment(), "results": found}, indent=1) + "\n", encoding="utf-8")


def pairs(own: Callable[[], object], other: Callable[[], object]) -> dict[str, Any]:
    """The time of `other` over that of `own`, median and every pair, after one run of each that does not count."""
    ratios = []
    for run in range(PAIRS + 1):
        first, second = seconds(own), seconds(other)
        if run:
            ratios.append(second / first)
    return {"ratio": statistics.median(ratios), "pairs": ratios, "seconds": first}


def seconds(work: Callable[[], object]) -> float:
    """User and system time of this process for `work`."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Keyed(LogitsProcessor):
    """Leaves one token: the one that the engine's keyed numbers draw."""

    def __init__(self, seeds: torch.Tensor) -> None:
        self.seeds, self.step = seeds, 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        token = draw(scores, self.seeds, torch.full_like(self.seeds, self.step), 1.0, 1.0)
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter(1, token[:, None], 0.0)


def writing(policy: str, asked: Sequence[Request], tokens: int = 56) -> dict[str, Any]:
    """Own loop against stock generate, which is handed the prompts longest first, so that a batch is of one length."""
    engine = load_engine("transformers", policy, batch_rows=BATCH)
    model = AutoModelForCausalLM.from_pretrained(policy)
    tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")
    prompts = sorted(((f"{request.question}\n{request.prefix}", request.seed + number)
                      for request in asked for number in range(request.n)), key=lambda pair: -len(pair[0]))

    def stock() -> None:
        for begin in range(0, len(prompts), BATCH):
            texts, seeds = zip(*prompts[begin:begin + BATCH], strict=True)
            batch = tokenizer(list(texts), return_tensors="pt", padding=True)
            model.generate(batch.input_ids, attention_mask=batch.attention_mask, max_new_tokens=tokens, do_sample=False,
                           logits_processor=[Keyed(torch.tensor(seeds))], pad_token_id=tokenizer.pad_token_id)

    return pairs(lambda: engine.sample(asked, Sampling(max_tokens=tokens)), stock)


def from_problems(path: str) -> list[Request]:
    """Whole solutions: as `erprm sample` asks for them."""
    questions = [problem.question for problem in read_problems(path)][:120]
    return [Request(question=question, prefix="", n=EACH, seed=EACH * number)
            for number, question in enumerate(questions)]


def from_prefixes(path: str) -> list[Request]:
    """What follows each prefix of solutions, short and long: as `erprm label` asks for it."""
    rows = list(itertools.islice(read_rows(path), 40))
    prefixes = [(row.prompt, "".join(f"{step}\n" for step in row.steps[:length]))
                for row in rows for length in range(1, len(row.steps) + (not row.finished))]
    return [Request(question=question, prefix=prefix, n=EACH, seed=EACH * number)
            for number, (question, prefix) in enumerate(dict.fromkeys(prefixes))]


def scoring(prm: str, path: str, common: int, share: bool | None = True) -> dict[str, Any]:
    """Paths through shared prefixes (or, with None, the scorer's own choice) against length buckets."""
    rows = unscored(path, common)
    own, apart = (PRMScorer(prm, device="cpu", share=each) for each in (share, False))
    found = pairs(lambda: own.score(rows), lambda: apart.score(rows))
    return found | {"rows": len(rows), "computed": own.report.computed / own.report.tokens}


def unscored(path: str, common: int) -> list[StepRow]:
    """The rows, with so many common steps before their own."""
    return [dataclasses.replace(row, steps=(*("10*9=90>90" for _ in range(common)), *row.steps), gaps=None, labels=None,
                                successes=None, trials=None, scores=None) for row in read_rows(path)]


def trees(folder: str, path: str, batch_tokens: int = 2048) -> dict[str, Any]:
    """Paths against the training's prefix trees; both must give the same scores."""
    rows = unscored(path, 0)
    scorer, prm, target = PRMScorer(folder, device="cpu", share=True), PRM.load(folder), TargetSpec("outcome")
    tokenizer = load_tokenizer(folder)
    tokens = StepTokens.from_tokenizer(tokenizer, PRMSpec.load(folder).tags)

    def by_trees() -> np.ndarray:
        data, _ = encode_dataset(rows, tokenizer, tokens, max_length=scorer.max_length or 512, target=target)
        collator, scores = Collator(data, target, layout="shared", capacity=batch_tokens), np.zeros(len(data.trials))
        some = np.cumsum(data.lengths) // (2 * batch_tokens)
        some = some[np.searchsorted(data.problems, data.problems)]  # a problem's rows together
        with torch.inference_mode():
            for batch in np.split(np.arange(len(data)), np.flatnonzero(np.diff(some)) + 1):
                inputs, steps = collator.batch(batch, every_step=True)
                scores[steps] = prm(**{name: inputs[name] for name in ASKED if name in inputs}).scores.numpy()
        return scores

    found = pairs(lambda: scorer.score(rows), by_trees)
    difference = float(np.abs(np.concatenate(scorer.score(rows)) - by_trees()).max())
    assert difference < 1e-5, f"scores differ by {difference}"
    return found | {"rows": len(rows)}


def last_block(layers: int, train: bool) -> dict[str, Any]:
    """At the tags against everywhere."""
    shape = LlamaConfig(hidden_size=576, intermediate_size=1536, num_hidden_layers=layers, num_attention_heads=9,
                        num_key_value_heads=3, vocab_size=512, max_position_embeddings=512, tie_word_embeddings=False)
    stock, install = LlamaForCausalLM(shape), tags_only.install
    ids, tags, labels = torch.randint(5, 200, (1, 192)), torch.arange(23, 192, 24), torch.rand(8)

    def model(short: bool) -> PRM:
        erprm.prm.model.tags_only.install = install if short else lambda base: False
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
        import tiny

        return PRM.from_base(copy.deepcopy(stock), tiny.tokenizer())

    def step(prm: PRM) -> None:
        with torch.inference_mode(not train):
            loss = prm(input_ids=ids, tag_positions=tags, labels=labels).loss
        if train:
            loss.backward()
            prm.zero_grad(set_to_none=True)

    short, whole = model(True), model(False)
    erprm.prm.model.tags_only.install = install
    return pairs(lambda: step(short), lambda: step(whole))


if __name__ == "__main__":
    main()
