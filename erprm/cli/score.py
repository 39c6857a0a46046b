"""Score every step of solutions with a process reward model.

    erprm score --model runs/prm --rows solutions.parquet --out scored.parquet
    erprm score --model Qwen/Qwen2.5-Math-PRM-7B --rows solutions.jsonl --out scored.jsonl --dtype bfloat16

Every row of the result is the row that was read, with one score in [0, 1] per step in the field `scores`,
in the same order.
A model that learnt several etas gives one column for each, scores_eta_0.5 and so on, in place of `scores`; with --eta 2
it gives `scores` of that one. One whose concentration was learnt adds score_low and score_high, the ends of the 90 %
interval of the success rate.
The model may be one trained here or any published form (Math-Shepherd, RLHFlow, TRL, Qwen2.5-Math-PRM, Skywork-o1);
where its files don't say which, name it with --form. Solutions of one problem share their question and common steps,
and those are computed once when that is cheaper: keep them next to each other in the file.

--engine vllm takes causal language models read at a tag (`erprm export`), and vLLM's own options with --engine-options;
--device, --batch-tokens and --share are the transformers engine's. ray:transformers and ray:vllm start several of
either over Ray, on this machine or the cluster of RAY_ADDRESS: --engine-options actors=8 (batch_rows, cpus, gpus, ...).

Interrupted, the same command goes on where it stopped. A row longer than the model's limit is an error that names it;
with --too-long cut it is scored up to the last step that fits, and counted.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from erprm.cli.config import option
from erprm.cli.scorer_options import ScorerConfig, scorer_of
from erprm.prm.scoring.engines import ENGINES, RAY_OPTIONS, TOO_LONG

if TYPE_CHECKING:
    from erprm.prm.scoring.scorer import Scorer


@dataclass(frozen=True)
class Config(ScorerConfig):
    """Options of `erprm score`."""

    rows: str = option(help="solutions in steps: .jsonl or .parquet")
    out: str = option(help="where to write the scored rows: .jsonl or .parquet", writes="rows")
    too_long: str = option("error", help="what becomes of a longer row", choices=TOO_LONG)
    part_rows: int = option(16384, least=1, help="rows scored, and committed to disk, at a time")


def run(config: Config) -> int:
    """Score, say how much, say where."""
    from erprm.errors import InputError
    from erprm.prm.scoring.files import score_file
    from erprm.rows import read_rows

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise InputError(f"torchrun: expected one process, found {processes} that would score the same rows; start it "
                         f"without torchrun: erprm score --engine ray:transformers --engine-options actors={processes} "
                         f"..., or --engine vllm --engine-options tensor_parallel_size={processes} ...")
    if next(read_rows(config.rows), None) is None:  # a file that is none is said before a model is loaded
        raise InputError(f"{config.rows}: expected at least one row, found none")
    scorer = scorer_of(config, too_long=config.too_long, every=True)
    try:
        score_file(scorer, config.rows, config.out, identity=_identity(config, scorer), part_rows=config.part_rows)
    finally:
        scorer.close()
    print(f"scored now: {scorer.report}", file=sys.stderr)
    print(config.out)
    return 0


def _identity(config: Config, scorer: Scorer) -> dict[str, Any]:
    """What two runs must agree in for one to go on with the other's parts: not in where the rows are scored."""
    from erprm.prm.checkpoints.forms import SCORES
    from erprm.prm.checkpoints.weights import WeightFiles

    weights = [[file.name, file.stat().st_size, file.stat().st_mtime_ns]
               for file in WeightFiles(scorer.checkpoint.folder).files()]
    options = [text for text in config.engine_options
               if text.partition("=")[0].replace("-", "_") not in RAY_OPTIONS]
    return {"model": config.model, "weights": weights, "form": scorer.checkpoint.form, "dtype": config.dtype,
            "engine": ENGINES[config.engine].inner, "engine_options": options, "max_length": config.max_length,
            "too_long": config.too_long, "separator": config.separator,
            **({} if scorer.checkpoint.columns == (SCORES,) else {"columns": list(scorer.checkpoint.columns)}),
            **({"eta": list(config.eta)} if config.eta else {})}
