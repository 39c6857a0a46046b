"""What attention costs on a CPU, in FLOPs of a large matrix product that would take as long.

    python bench/attention_costs.py                # one line per constant, for each width

`erprm.prm.scoring.scorer` and `erprm.prm.training.layout` choose between layouts by these constants: what a pair of
query and key costs per FLOP (in one rectangle of paths, under a dense mask, forward and backward), what gathering a
key costs per number, and what a call costs on top. The least of many runs, on one thread; the constants in the code are
round numbers between those of the widths.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.nn.functional import linear, scaled_dot_product_attention

WIDTHS = (96, 128, 256, 512)
TOKENS, ROWS, OWN, PATH, HEAD, DENSE = 2048, 36, 57, 123, 32, 512


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    for width in WIDTHS:
        print(f"width {width}: " + ", ".join(f"{name} {value:,.3g}" for name, value in costs(width).items()))


def costs(width: int) -> dict[str, float]:
    """The constants at one width."""
    heads = width // HEAD
    x, w = torch.randn(TOKENS, width), torch.randn(3 * width, width)
    per_flop = least(lambda: linear(x, w)) / (6.0 * TOKENS * width**2)
    flat = torch.randn(TOKENS, heads, HEAD)
    index = torch.randint(0, TOKENS, (ROWS * PATH,))
    queries = torch.randn(ROWS, heads, OWN, HEAD)
    keys = flat.index_select(0, index).view(ROWS, PATH, heads, HEAD).transpose(1, 2)
    mask = torch.zeros(ROWS, 1, OWN, PATH)
    paths = least(lambda: scaled_dot_product_attention(queries, keys, keys, attn_mask=mask))
    call = least(lambda: scaled_dot_product_attention(queries[:1, :, :2], keys[:1, :, :2], keys[:1, :, :2],
                                                      attn_mask=mask[:1, :, :2, :2]))
    found = {"ns per GFLOP of a matrix product": 1e18 * per_flop,
             "pair along paths": paths / per_flop / (4.0 * ROWS * OWN * PATH * width),
             "key": 2 * least(lambda: flat.index_select(0, index)) / per_flop / (ROWS * PATH * width),
             "call": call / per_flop}
    for name, causal in (("dense mask", False), ("causal", True)):
        side = torch.randn(TOKENS // DENSE, heads, DENSE, HEAD, requires_grad=True)
        square = None if causal else torch.ones(TOKENS // DENSE, 1, DENSE, DENSE, dtype=torch.bool).tril()

        def trained(side: torch.Tensor = side, square: torch.Tensor | None = square, causal: bool = causal) -> None:
            scaled_dot_product_attention(side, side, side, attn_mask=square, is_causal=causal).sum().backward()

        def product() -> None:
            linear(x.requires_grad_(), w.requires_grad_()).sum().backward()

        found[f"trained pair, {name}"] = (least(trained) / (TOKENS * DENSE * 4.0 * width)
                                          / (least(product) / (6.0 * TOKENS * width**2)))
    return found


def least(run: Callable[[], object], repeats: int = 15) -> float:
    """Seconds of processor time."""
    run()
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    main()
