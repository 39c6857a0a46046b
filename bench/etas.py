"""One training run for every eta against a run for each: best-of-N per eta, paired, and training time.

    erprm demo --out runs/demo --seeds 3
    python bench/etas.py --demo runs/demo/seed-* --out runs/etas --output bench/results/etas.json

For each demo the rows, policy and pool that it left are taken, and the reward models of its recipe are trained anew:
one that learns all etas, and one for each. All are the same command, `erprm train`, with as many steps; interrupted,
the same call goes on where it stopped, and the seconds of a model are the processor's over all its calls. Both models
of an eta score the demo's held-out pool, and their best-of-N is compared problem by problem (95 % bootstrap intervals
over problems, all demos together). `--steps`, `--pool` and `--rows` make a run small; the file says what was run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import common

import erprm.prm.training.trainer  # noqa: F401  (what training loads is loaded before a clock starts)
from erprm import cli
from erprm.demo.settings import DemoSettings
from erprm.evaluation.curves import accuracy_curves
from erprm.evaluation.pools import group_by_problem, pool_of
from erprm.files.writing import atomic_write
from erprm.rows import by_score_column, read_rows, write_rows
from erprm.statistics.bootstrap import paired_test
from erprm.values.spec import eta_name


def train(demo: Path, folder: Path, etas: list[float], given: argparse.Namespace) -> float:
    """A reward model that learns these etas, in `folder`; the processor's seconds for it."""
    settings = DemoSettings()
    clock = folder.with_name(folder.name + "-seconds.json")
    spent = json.loads(clock.read_text(encoding="utf-8")) if clock.is_file() else 0.0
    started = time.process_time()
    try:
        cli.run("train", ["--model", str(demo / "models" / "policy"), "--data", str(given.rows_of[demo]), "--out",
                          str(folder), "--target", "er", "--eta", *map(eta_name, etas), "--max-steps",
                          str(given.steps or settings.prm_steps), "--batch-size", str(settings.prm_batch),
                          "--weight-decay", "0.01", "--warmup", "30", "--learning-rate",
                          str(settings.prm_learning_rate), "--seed", str(given.seed)])
    finally:
        spent += time.process_time() - started
        with atomic_write(clock) as temporary:
            temporary.write_text(json.dumps(spent), encoding="utf-8")
    return float(spent)


def some_rows(source: Path, out: Path, count: int | None) -> Path:
    """The first so many rows of a file, or the file itself."""
    if count is None:
        return source
    if not out.is_file():
        write_rows(out, islice(read_rows(source), count))
    return out


def compare_models(demo: Path, folder: Path, given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of one demo: seconds by model, and by eta the accuracy of each problem [P] by the joint and the own model."""
    folder.mkdir(parents=True, exist_ok=True)
    given.rows_of[demo] = some_rows(demo / "training.parquet", folder / "rows.parquet", given.rows)
    pool = some_rows(demo / "pool.parquet", folder / "pool.parquet",
                     None if given.pool is None else given.pool * DemoSettings().pool)
    models = {"together": given.etas} | {f"eta={eta_name(eta)}": [eta] for eta in given.etas}
    seconds, files = {}, {}
    for name, etas in models.items():
        prm, scored = folder / name, folder / f"scored-{name}.parquet"
        seconds[name] = train(demo, prm, etas, given)
        if not scored.is_file():
            cli.run("score", ["--model", str(prm), "--rows", str(pool), "--out", str(scored)])
        for column, rows in by_score_column(list(read_rows(scored))).items():
            files[f"{name} {column}".rstrip()] = rows
    reduced = pool_of(group_by_problem(files), given.aggregate)
    size = reduced.correct.shape[1]
    curves = accuracy_curves(reduced, [size], seed=given.seed)
    return seconds, {eta_name(eta): [curves.by_problem[name][:, -1] for name in
                                     (f"together eta={eta_name(eta)}", f"eta={eta_name(eta)}")] for eta in given.etas}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, nargs="+", required=True, help="folders of finished demos")
    parser.add_argument("--out", type=Path, required=True, help="folder for models and scores")
    parser.add_argument("--output", type=Path, help="result file")
    parser.add_argument("--etas", type=float, nargs="+", default=[0.5, 2.0, 10.0])
    parser.add_argument("--aggregate", default="min")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="optimiser steps of a model; by default the demo's")
    parser.add_argument("--rows", type=int, help="use the first so many training rows")
    parser.add_argument("--pool", type=int, help="use the first so many held-out problems")
    given = parser.parse_args()
    given.rows_of = {}
    found = [compare_models(demo, given.out / str(number), given) for number, demo in enumerate(given.demo)]
    together = sum(seconds["together"] for seconds, _ in found)
    apart = sum(sum(seconds.values()) for seconds, _ in found) - together
    result: dict[str, Any] = {
        "environment": common.environment(), "demos": len(given.demo), "etas": given.etas, "steps": given.steps,
        "rows": given.rows, "problems": given.pool, "aggregate": given.aggregate, "seed": given.seed,
        "seconds": [seconds for seconds, _ in found], "time_together_over_apart": together / apart, "best_of_n": {}}
    for eta in map(eta_name, given.etas):
        joint, own = (np.concatenate([by_eta[eta][side] for _, by_eta in found]) for side in (0, 1))
        test = paired_test(joint, own, seed=given.seed)
        result["best_of_n"][eta] = {"together": float(joint.mean()), "apart": float(own.mean()),
                                    "problems": len(joint), "difference": test.difference, "low": test.low,
                                    "high": test.high}
        print(f"eta {eta}: together {joint.mean():.3f}, apart {own.mean():.3f}, difference {test.difference:+.3f} "
              f"[{test.low:+.3f}, {test.high:+.3f}] over {len(joint)} problems")
    print(f"training time together / apart: {together / apart:.2f}")
    common.write_result(given.output, result)


if __name__ == "__main__":
    main()
