"""Whole PRM training steps: forward, backward, AdamW; the same base model, rows and optimiser for every provider.

    python bench/train_step.py                               # small Llama with a 128,256-token vocabulary on the CPU
    python bench/train_step.py --device cuda --model 1b      # Llama-3.2-1B's shape, random weights; or 8b
    python bench/train_step.py --vocabulary 262144 --together    # Gemma's vocabulary; providers take turns

Rows are drawn with the lengths of real ones: 15 solutions a problem, a question of about 80 tokens, solutions of about
150 with a step tag every 15. Batches of all but erprm are made beforehand. Providers:

- `erprm`: PRMTrainer's model and batches, collation included; `erprm-shared` with shared prefixes.
- `paper`: rows padded to the block of 512, all logits in float32, two columns read at the tags.
- `trl`: the form of TRL's PRMTrainer, which TRL 1.16 no longer ships: a token classifier, padded to the batch, with
  rounded labels.
- `liger`: packed rows, Liger's kernels and its fused vocabulary loss at the tags; CUDA only.
- `eager`: a strong baseline; padded to the batch, hidden states gathered at the tags, two-row matmul.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parent))
import common

from erprm.prm.attention import spans
from erprm.prm.model import PRM
from erprm.prm.rows.tokens import StepTokens
from erprm.prm.spec import PRMSpec
from erprm.prm.training.batches import Collator
from erprm.prm.training.dataset import EncodedDataset
from erprm.steps import StepTags
from erprm.values.spec import TargetSpec
from kernels import ceilings

BLOCK, SOLUTIONS = 512, 15
TAG, PLUS, MINUS = 5, 6, 7
SHAPES = {
    "tiny": {"vocab_size": 1024, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
             "num_attention_heads": 2, "num_key_value_heads": 2},
    "small": {"vocab_size": 128_256, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
              "num_attention_heads": 8, "num_key_value_heads": 2},
    "1b": {"vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
           "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64},
    "8b": {"vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 8},
}
for _layers in (4, 8):  # all 32 with AdamW do not fit; the rest follows from the difference of these
    SHAPES[f"8b-{_layers}"] = SHAPES["8b"] | {"num_hidden_layers": _layers}


def dataset(problems: int, vocabulary: int, seed: int = 0) -> EncodedDataset:
    """Rows of random tokens; half of a problem's solutions share their first step."""
    draw = np.random.default_rng(seed)
    ids: list[Any] = []
    tags: list[Any] = []
    for _ in range(problems):
        question = draw.integers(8, vocabulary, int(np.clip(draw.normal(80, 20), 20, 160)))
        first = draw.integers(8, vocabulary, 14)
        for solution in range(SOLUTIONS):
            steps = [first] if solution % 2 else []
            steps += [draw.integers(8, vocabulary, int(draw.integers(6, 24))) for _ in range(draw.integers(4, 16))]
            row = [question, *itertools.chain.from_iterable((step, [TAG]) for step in steps)]
            flat = np.concatenate(row)[:BLOCK]
            ids.append(flat.astype(np.int64))
            tags.append(np.flatnonzero(flat == TAG))
    count = sum(len(row) for row in tags)
    offsets = [np.concatenate([[0], np.cumsum([len(row) for row in rows])]) for rows in (ids, tags)]
    return EncodedDataset(
        ids=np.concatenate(ids), row_offsets=offsets[0], tags=np.concatenate(tags), step_offsets=offsets[1],
        successes=draw.integers(0, 17, count).astype(np.int32), trials=np.full(count, 16, np.int32),
        labels=np.full(count, np.nan), outcomes=np.full(len(ids), np.nan), ends=np.zeros(len(ids), np.bool_),
        problems=np.repeat(np.arange(problems), SOLUTIONS), rewards=np.zeros(0),
        reward_offsets=np.zeros(count + 1, np.int64), weights=np.ones(len(ids)))


def with_vocabulary(model: str, size: int) -> str:
    """The name of the same shape with another vocabulary."""
    name = f"{model}-{size}"
    SHAPES[name] = SHAPES[model] | {"vocab_size": size}
    return name


def causal(model: str, dtype: torch.dtype, device: str, implementation: str = "sdpa") -> LlamaForCausalLM:
    """Random weights in a stock shape; the head tied where the published model ties it."""
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[model], max_position_embeddings=2048, tie_word_embeddings=model == "1b",
                         attn_implementation=implementation)
    with torch.device(device):
        return LlamaForCausalLM(config).to(dtype).train()


def trained(model: nn.Module, batches: Iterator[Any], loss_of: Callable[[Any], Tensor]) -> Callable[[], None]:
    """A closure that makes one optimiser step on the next batch."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def step() -> None:
        loss_of(next(batches)).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def ours(model: str, data: EncodedDataset, groups: list[list[int]], dtype: torch.dtype, device: str, shared: bool,
         ) -> Callable[[], None]:
    """PRMTrainer's model and batches."""
    layout = "shared" if shared else "packed" if device == "cuda" else "padded"
    name = spans.implementation(torch.device(device), {"padded": "plain", "packed": "varlen"}.get(layout, "spans"),
                                    dtype != torch.float32)
    spec = PRMSpec(targets={"kind": "er", "eta": 2.0})
    prm = PRM.from_rows(causal(model, dtype, device), spec, StepTokens(StepTags(), TAG, PLUS, MINUS, None, (), ()))
    prm.model.set_attn_implementation(name)
    collator = Collator(data, TargetSpec("er", 2.0), layout=layout, capacity=sys.maxsize if device == "cuda" else 0,
                        learnt="counts", flex=device == "cuda")

    def batches() -> Iterator[Any]:
        for rows in itertools.cycle(groups):
            yield {key: value.to(device) if isinstance(value, Tensor) else value
                   for key, value in collator(rows).items()}

    return trained(prm.train(), batches(), lambda batch: prm(**batch).loss)


def padded(data: EncodedDataset, groups: list[list[int]], device: str, width: int | None) -> Iterator[Any]:
    """(ids, attention mask, flat tag positions, targets), padded to `width` or to the longest row of the batch."""
    made = []
    for rows in groups:
        batch = Collator(data, TargetSpec("er", 2.0))(rows)
        ids, tags, labels = batch["input_ids"], batch["tag_positions"], batch["labels"]
        assert isinstance(ids, Tensor)
        wide = ids.new_zeros(len(rows), width or ids.shape[1])
        wide[:, : ids.shape[1]] = ids
        mask = torch.arange(wide.shape[1])[None] < torch.from_numpy(data.lengths[rows])[:, None]
        at = tags // ids.shape[1] * wide.shape[1] + tags % ids.shape[1]
        made.append(tuple(part.to(device) for part in (wide, mask.long(), at, labels)))
    return itertools.cycle(made)


def paper(model: str, data: EncodedDataset, groups: list[list[int]], dtype: torch.dtype, device: str,
          ) -> Callable[[], None]:
    """All logits of the padded block in float32, then two columns at the tags."""
    network = causal(model, dtype, device)

    def loss(batch: Any) -> Tensor:
        ids, mask, tags, values = batch
        logits = network(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()
        pair = logits.flatten(0, 1)[tags][:, [PLUS, MINUS]]
        return nn.functional.cross_entropy(pair, torch.stack([values, 1 - values], dim=1))

    return trained(network, padded(data, groups, device, BLOCK), loss)


def trl(model: str, data: EncodedDataset, groups: list[list[int]], dtype: torch.dtype, device: str,
        ) -> Callable[[], None]:
    """A token classifier with two labels, all positions through the head, integer labels."""
    base = causal(model, dtype, device)
    base.config.num_labels = 2
    with torch.device(device):
        network = AutoModelForTokenClassification.from_config(base.config).to(dtype).train()
    network.model = base.model

    def loss(batch: Any) -> Tensor:
        ids, mask, tags, values = batch
        labels = torch.full((ids.numel(),), -100, device=ids.device).index_copy(0, tags, values.round().long())
        logits = network(input_ids=ids, attention_mask=mask).logits
        return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels)

    return trained(network, padded(data, groups, device, None), loss)


def eager(model: str, data: EncodedDataset, groups: list[list[int]], dtype: torch.dtype, device: str,
          ) -> Callable[[], None]:
    """No vocabulary head: hidden states gathered at the tags and two rows."""
    base = causal(model, dtype, device)
    head = nn.Parameter(base.lm_head.weight[[PLUS, MINUS]].detach().clone())
    network = nn.ModuleList([base.model])
    network.register_parameter("head", head)

    def loss(batch: Any) -> Tensor:
        ids, mask, tags, values = batch
        hidden = base.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        logits = (hidden.flatten(0, 1)[tags] @ head.T).float()
        return nn.functional.cross_entropy(logits, torch.stack([values, 1 - values], dim=1))

    return trained(network, padded(data, groups, device, None), loss)


def liger(model: str, data: EncodedDataset, groups: list[list[int]], dtype: torch.dtype, device: str,
          ) -> Callable[[], None]:
    """Packed rows through Liger's layers, its fused linear cross-entropy at the tags with rounded labels."""
    if device != "cuda":
        raise RuntimeError("Liger's kernels run on CUDA only")
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss, apply_liger_kernel_to_llama

    name = spans.implementation(torch.device(device), "varlen", half_precision=True)
    network = causal(model, dtype, device, name)
    apply_liger_kernel_to_llama(model=network, fused_linear_cross_entropy=False)
    fused = LigerFusedLinearCrossEntropyLoss()
    collator = Collator(data, TargetSpec("er", 2.0), layout="packed")
    made = [{key: value.to(device) if isinstance(value, Tensor) else value for key, value in collator(rows).items()}
            for rows in groups]

    def loss(batch: Any) -> Tensor:
        extra = spans.arguments(network.config, dtype, None, None, batch["cu_seqlens"], batch["max_length"])
        hidden = network.model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False,
                               **extra).last_hidden_state
        labels = torch.where(batch["labels"] > 0.5, PLUS, MINUS)
        return fused(network.lm_head.weight, hidden[0, batch["tag_positions"]], labels)

    return trained(network, itertools.cycle(made), loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", choices=list(SHAPES))
    parser.add_argument("--rows", type=int, help="rows in an optimiser step")
    parser.add_argument("--providers", nargs="+", default=["erprm", "erprm-shared", "paper", "trl", "liger", "eager"])
    parser.add_argument("--vocabulary", type=int, help="tokens of the vocabulary; the shape's if unset")
    parser.add_argument("--together", action="store_true", help="all models at once, whose steps are timed in turn: "
                                                                "what a busy machine needs; takes their memory")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, only to see that everything runs")
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    gpu = given.device == "cuda"
    model = given.model or ("tiny" if given.smoke else "1b" if gpu else "small")
    bench = "train_step"
    if given.vocabulary is not None:
        model, bench = with_vocabulary(model, given.vocabulary), f"train_step_{given.vocabulary // 1000}k"
    dtype = torch.bfloat16 if gpu else torch.float32
    rows = given.rows or (2 * SOLUTIONS if gpu else 4)
    data = dataset(2 if given.smoke else 8, SHAPES[model]["vocab_size"])
    order = np.random.default_rng(1).permutation(len(data))
    mixed = [sorted(part.tolist()) for part in np.split(order[: len(order) // rows * rows], len(order) // rows)]
    together = [list(range(at, at + rows)) for at in range(0, len(data) - rows + 1, rows)]
    arguments = (dtype, given.device)
    builders: dict[str, Callable[[], Callable[[], None]]] = {
        "erprm": lambda: ours(model, data, mixed, *arguments, shared=False),
        "erprm-shared": lambda: ours(model, data, together, *arguments, shared=True),
        "paper": lambda: paper(model, data, mixed, *arguments), "trl": lambda: trl(model, data, mixed, *arguments),
        "liger": lambda: liger(model, data, mixed, *arguments), "eager": lambda: eager(model, data, mixed, *arguments)}
    shape = SHAPES[model]
    width, layers = shape["hidden_size"], shape["num_hidden_layers"]
    heads = 1 + shape["num_key_value_heads"] / shape["num_attention_heads"]
    parameters = layers * (2 * heads * width**2 + 3 * width * shape["intermediate_size"])
    tokens = rows * len(data.ids) / len(data)
    _, rate = ceilings(given.device, given.smoke)
    work = common.Work(flops=int(6 * parameters * tokens), rate=rate)
    sizes = {"rows": rows, "tokens": int(tokens), "D": width, "layers": layers, "V": shape["vocab_size"]}
    records: list[common.Record] = []
    for names in [given.providers] if given.together else [[name] for name in given.providers]:
        built: dict[str, Callable[[], None]] = {}  # one model at a time otherwise: five of them would not fit

        def step(name: str, built: dict[str, Callable[[], None]] = built) -> None:
            if name not in built:
                built[name] = builders[name]()
            built[name]()

        found_here = common.measure(bench, {name: functools.partial(step, name) for name in names}, shape=sizes,
                                    dtype=str(dtype).removeprefix("torch."), device=given.device,
                                    seconds=given.seconds, work=work)
        records += found_here
        path = common.write(found_here, given.output)  # as each ends: what is cut later loses nothing
        built.clear()
    print(common.table(records))
    found = {record.provider: record for record in records if record.p50}
    for name, record in found.items():
        assert record.p50 is not None
        line = f"{name}: {rows / record.p50:,.2f} rows/s, {tokens / record.p50:,.0f} tokens/s"
        if "paper" in found and name != "paper" and found["paper"].p50 is not None:
            line += f", {found['paper'].p50 / record.p50:.1f} x the paper's form"
        print(line)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
