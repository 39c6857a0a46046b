"""How often a completion depends on what else is in its batch: rounding ties, counted.

    python bench/batch_ties.py                                   # a random model, both engines, both dtypes
    python bench/batch_ties.py --policy runs/demo/policy --engines transformers --out ties.json

The same requests (n samples each, seeded) are sampled in several ways: all together; together with as many requests of
other lengths, in reversed order; in batches of another size (transformers: 37 rows; vLLM: as requests of one sample);
and the first few one at a time. Sampling draws by the seed and the step alone, so completions differ only where a batch
of another shape rounds a logit differently and the drawn number falls into that gap. Reported for each comparison with
"together": completions that differ, the tokens up to and with the first difference of those, and the share per token:
differing completions over all tokens that were compared while still equal.

Without --policy the model is a Llama of 4 layers, 128 dimensions and byte tokens with random weights. Its distributions
are broad, hence its cumulative sums have many places to differ in; a trained policy is more certain of most tokens.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import common

from erprm.engines import Request, Sampling, load_engine

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import tiny  # the small models and the tokenizer of the tests

ALONE = 16  # requests that are sampled one at a time
Ids = list[tuple[int, ...]]  # token ids of every sample, a request's samples in a row
Sampler = Callable[[Sequence[Request]], Ids]


class AsNumbers:
    """Takes the place of an engine's detokenizer: a completion's text is its token ids."""

    def text(self, ids: Sequence[int]) -> str:
        """Token ids with spaces between them."""
        return " ".join(str(index) for index in ids)


def transformers_sampler(policy: str, dtype: str, tokens: int, rows: int) -> Sampler:
    """The transformers engine with `rows` rows."""
    engine: Any = load_engine("transformers", policy, dtype=dtype, batch_rows=rows)
    engine._detokenizer = AsNumbers()
    return lambda requests: [tuple(map(int, sample.text.split())) for drawn in
                             engine.sample(requests, Sampling(max_tokens=tokens)) for sample in drawn]


def vllm_sampler(policy: str, dtype: str, tokens: int) -> Sampler:
    """The vLLM engine, with the parameters that the engine itself gives a request."""
    from erprm.engines.vllm import _parameters

    engine: Any = load_engine("vllm", policy, dtype=dtype)

    def sample(requests: Sequence[Request]) -> Ids:
        prompts = [{"prompt_token_ids": engine._template.ids(engine._tokenizer, request.question, request.prefix)}
                   for request in requests]
        parameters = [_parameters(request, Sampling(max_tokens=tokens)) for request in requests]
        outputs = engine.llm.generate(prompts, parameters, use_tqdm=False)
        return [tuple(drawn.token_ids) for output in outputs
                for drawn in sorted(output.outputs, key=lambda drawn: drawn.index)]

    return sample


def requests_of(count: int, n: int, seed: int, longest: int) -> list[Request]:
    """Requests with prefixes of many lengths."""
    draw = random.Random(seed)
    return [Request(f"{draw.randint(0, 999)}+{draw.randint(0, 999)}*{index}?",
                    "".join(f"{draw.randint(0, 99)}*{draw.randint(0, 99)}=\n" for _ in range(draw.randint(0, longest))),
                    n, 1000 * seed + n * index) for index in range(count)]


def difference(base: Ids, other: Ids) -> dict[str, Any]:
    """Completions of `other` that are not those of `base`, and where they begin to differ."""
    places = []
    compared = 0
    for one, two in zip(base, other, strict=True):
        first = next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b),
                     min(len(one), len(two)))
        compared += min(first + 1, len(one))
        if one != two:
            places.append(first + 1)
    return {"completions": len(base), "tokens": compared, "differ": len(places),
            "tokens_until_first_difference": sorted(places), "share_per_token": len(places) / compared}


def compare(engine: str, dtype: str, policy: str, given: argparse.Namespace) -> dict[str, Any]:
    """Every way to sample, against all requests together."""
    if engine == "vllm":
        sample = smaller = vllm_sampler(policy, dtype, given.tokens)
    else:
        sample = transformers_sampler(policy, dtype, given.tokens, rows=256)
        smaller = transformers_sampler(policy, dtype, given.tokens, rows=37)
    requests, others = requests_of(given.requests, given.n, 1, 12), requests_of(given.requests, given.n, 2, 30)
    total = given.requests * given.n
    base = sample(requests)
    mixed = [request for pair in zip(others[::-1], requests[::-1], strict=True) for request in pair]
    back = dict(zip(mixed, _by_request(sample(mixed), given.n), strict=True))
    singles = [Request(request.question, request.prefix, 1, request.seed + number)
               for request in requests for number in range(request.n)]
    alone = [ids for request in requests[:ALONE] for ids in sample([request])]
    first = [ids for request in singles[:ALONE] for ids in sample([request])]
    found = {"mixed with as many others, reversed": difference(base, [ids for request in requests
                                                                      for ids in back[request]]),
             "batches of another size": difference(base, smaller(singles if engine == "vllm" else requests)),
             "one request at a time": difference(base[: ALONE * given.n], alone),
             "one sample at a time": difference(base[:ALONE], first),
             "the same batch again": difference(base, sample(requests))}
    assert len(base) == total
    return {"engine": engine, "dtype": dtype, "against_together": found}


def _by_request(ids: Ids, n: int) -> list[Ids]:
    return [ids[start: start + n] for start in range(0, len(ids), n)]


def main() -> None:
    """Sample, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", help="a folder with a causal language model (default: a random one)")
    parser.add_argument("--engines", nargs="+", default=["transformers", "vllm"], choices=["transformers", "vllm"])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "batch_ties.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        policy = given.policy or str(tiny.save(Path(folder), layers=4, hidden=128))
        results = []
        for engine in given.engines:
            for dtype in given.dtypes:
                results.append(compare(engine, dtype, policy, given))
                for way, one in results[-1]["against_together"].items():
                    print(f"{engine} {dtype}, {way}: {one['differ']} of {one['completions']} completions differ, "
                          f"{one['share_per_token']:.1e} per token", flush=True)
    policy = given.policy or "random Llama, 4 layers of 128 dimensions, bytes"
    result = {"environment": common.environment(), "policy": policy, "n": given.n, "max_tokens": given.tokens,
              "results": results}
    common.write_result(given.output, result)


if __name__ == "__main__":
    main()
