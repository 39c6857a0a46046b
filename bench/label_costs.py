"""What 100,000 labelled steps cost by each way to label: completions, tokens, engine seconds here, GPU hours at most.

    erprm demo --out runs/demo
    python bench/label_costs.py --demo runs/demo --out runs/costs --output bench/results/label_costs.json

The solutions to a finished demo's first problems are labelled by `erprm label`: with the demo's fixed n, adaptively
(--rmse), and by bisection (--find first-error). Tokens and completions are what lies in the stores; the engine's
seconds are those of this machine, and hold for its policy and its load alone. Each way stands twice: for all steps, and
for those of the rows that are left when the task's own checker has judged them (`erprm judge`, `erprm filter`); the
checker costs no tokens, its seconds stand beside.

No GPU was measured. The GPU hours are an upper bound under the assumptions of a recipe, read from its file and kept
with the result: that its engines write `tokens_per_second` together, and that every completion is `max_tokens` long.
The number of completions per step is this task's and policy's. So is the line of a language model that judges each
solution once (`erprm judge --judge llm`): no such judge was run, its answers are taken to be as long as that command
lets them be, and its size to be the policy's.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import yaml
from labels import Bench

from erprm.cli.judge import Config as JudgeConfig
from erprm.demo.commands import command
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows

STEPS = 100_000
JUDGED = JudgeConfig.__dataclass_fields__["max_tokens"].default  # longest answer of `erprm judge`
SAID = re.compile(r"completions sampled \(([\d,]+) tokens, [\d,.]+ s of which ([\d,.]+) s in the engine\)")


def ways(given: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Options of `erprm label` by name; those of the filter follow from them."""
    return {"fixed": {}, "rmse": {"rmse": given.rmse},
            "first-error": {"find": "first-error", "confidence": given.confidence}}


def labelled(bench: Bench, name: str, options: dict[str, Any], problems: int) -> dict[str, float]:
    """Completions, tokens and engine seconds of one way, done now or read from NAME.json."""
    store, known = bench.folder / name, bench.folder / f"{name}.json"
    if not known.is_file():
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            bench.label(bench.demo / "solutions.parquet", store, limit=problems, **options)
        found = SAID.search(said.getvalue())
        assert found is not None, said.getvalue()
        now, seconds = (float(text.replace(",", "")) for text in found.groups())
        written = [tokens for table in read_parts(store, ["tokens"]) for tokens in table["tokens"].to_pylist()]
        # An interrupted run counts its last part's seconds alone: its rate holds for all.
        common.save(known, {"completions": len(written), "tokens": sum(written),
                            "engine_seconds": seconds * sum(written) / now if now else None})
    cost: dict[str, float] = json.loads(known.read_text(encoding="utf-8"))
    return cost


def judged(bench: Bench, name: str, confidence: dict[str, Any]) -> tuple[list[StepRow], list[StepRow], float]:
    """(all rows, those that the checker confirms, seconds that it took)."""
    rows, verdicts, agreed = bench.folder / name / "rows.parquet", *(
        bench.folder / f"{name}-{what}.parquet" for what in ("verdicts", "agreed"))
    begun = time.monotonic()
    command("judge", rows=rows, problems=bench.problems("label"), judge="program", out=verdicts)()
    seconds = time.monotonic() - begun
    command("filter", rows=rows, consensus=verdicts, out=agreed, **confidence)()
    return list(read_rows(rows)), list(read_rows(agreed)), seconds


def assumed(recipe: Path) -> dict[str, Any]:
    """What a recipe says of its labelling."""
    label = yaml.safe_load(recipe.read_text(encoding="utf-8"))["label"]
    actors = dict(option.split("=", 1) for option in label["engine_options"])["actors"]
    return {"recipe": recipe.name, "measured": False, "gpus": int(actors), "max_tokens": label["max_tokens"],
            "tokens_per_second": label["tokens_per_second"]}


def main(words: Sequence[str] | None = None) -> None:
    root = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, required=True, help="folder of a finished demo; only read")
    parser.add_argument("--out", type=Path, required=True, help="folder for stores and verdicts")
    parser.add_argument("--output", type=Path, help="result file")
    parser.add_argument("--problems", type=int, default=150, help="whose solutions are labelled")
    parser.add_argument("--rmse", type=float, default=0.05)
    parser.add_argument("--confidence", type=float, default=0.9)
    parser.add_argument("--recipe", type=Path, default=root / "recipes" / "llama-3.1-8b-gsm8k.yaml")
    given = parser.parse_args(words)
    bench, gpu = Bench(given.demo, given.out, given), assumed(given.recipe)
    given.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "environment": common.environment(), "task": bench.settings.task, "n": bench.settings.completions,
        "problems": given.problems, "rmse": given.rmse, "confidence": given.confidence, "assumed": gpu, "ways": {}}
    for name, options in ways(given).items():
        cost = labelled(bench, name, options, given.problems)
        confidence = {} if name == "fixed" else {"confidence": given.confidence}
        rows, agreed, seconds = judged(bench, name, confidence)
        for after, kept in (("", rows), (", confirmed by the checker", agreed)):
            scale = STEPS / sum(len(row.steps) for row in kept)
            entry: dict[str, Any] = {"rows": len(kept), "steps": round(STEPS / scale)} | {
                f"{key}_per_100000_steps": None if value is None else round(value * scale, 1)
                for key, value in cost.items()}
            if after:
                entry["checker_seconds_per_100000_steps"] = round(seconds * scale, 1)
            entry["gpu_hours_at_most_per_100000_steps_assumed"] = round(
                cost["completions"] * scale * gpu["max_tokens"] / gpu["tokens_per_second"] * gpu["gpus"] / 3600, 1)
            result["ways"][name + after] = entry
            print(f"{name + after:40} " + ", ".join(f"{key} {value:,}" for key, value in entry.items()
                                                    if value is not None))
    answers = STEPS / sum(len(row.steps) for row in rows) * len(rows)  # of the same solutions, whichever way
    result["ways"]["language model as judge, assumed"] = {
        "answers_per_100000_steps": round(answers), "tokens_at_most_per_100000_steps": round(answers * JUDGED),
        "gpu_hours_at_most_per_100000_steps_assumed": round(
            answers * JUDGED / gpu["tokens_per_second"] * gpu["gpus"] / 3600, 1)}
    common.write_result(given.output, result)


if __name__ == "__main__":
    main()
