"""Best-of-N curves, calibration, ProcessBench and PRMBench: what a process reward model is worth.

    erprm evaluate --scored er_eta_2=scored-er.parquet soft=scored-soft.parquet --out runs/evaluation
    erprm evaluate --processbench gsm8k.jsonl --prm runs/prm --out runs/evaluation
    erprm evaluate --prmbench prmbench.jsonl --prm runs/prm --threshold 0.5 --out runs/evaluation

--scored takes pools of graded solutions as `erprm score` writes them, one file per reward model, all of the same
solutions, N to a problem. Accuracy against N is exact over all N-subsets of a pool; majority and weighted majority,
pass@N as the ceiling, 95 % intervals over problems and paired tests between the models stand beside it. A curve that
falls with N shows a reward model that is being over-optimised. Where the rows carry counts (k of n completions),
calibration is added.

Written: evaluation.json with every number, report.html, best_of_n.png, calibration.png.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from erprm.cli.config import option
from erprm.errors import InputError
from erprm.rows import StepRow, read_rows
from erprm.selection.aggregate import AGGREGATIONS
from erprm.values import Array

if TYPE_CHECKING:
    from erprm.evaluation.bellman import BellmanResidual
    from erprm.evaluation.pools import Groups
    from erprm.prm.scoring.scorer import PRMScorer

T = TypeVar("T")


@dataclass(frozen=True)
class Config:
    """Options of `erprm evaluate`."""

    out: str = option(help="folder for the results")
    scored: tuple[str, ...] = option((), help="scored solutions, NAME=FILE or FILE, one per reward model")
    aggregate: str = option("min", help="step scores into one number per solution", choices=AGGREGATIONS)
    ns: tuple[int, ...] = option((), help="pool sizes N; by default 1, 2, 4, ... up to the whole pool")
    size: int | None = option(None, help="use the first so many candidates of each problem")
    weigh_by: str | None = option(None, help="the model whose scores weigh votes; the first by default")
    eta: tuple[str, ...] = option(("2",), help="inverse temperature for the Bellman residual: one for all models, and "
                                               "NAME=ETA for those that differ")
    scores_are: tuple[str, ...] = option(("value",), help="what scores estimate, for the Bellman residual: value "
                                                          "(V_eta) or mean (the success rate), and NAME=... for models "
                                                          "that differ")
    processbench: str | None = option(None, help="ProcessBench file; needs --prm")
    prmbench: str | None = option(None, help="PRMBench file; needs --prm")
    prm: str | None = option(None, help="process reward model that scores the benchmark files")
    threshold: float | None = option(None, help="scores below it mean a wrong step; by default 0.5, and ProcessBench "
                                                "is given at its own best threshold as well")
    too_long: str = option("error", help="a benchmark row that is longer than the model reads: an error, cut (steps "
                                         "behind the cut count as judged right) or skipped; both are counted",
                           choices=("error", "cut", "skip"))
    export: str | None = option(None, help="also write the pool in search-and-learn's format to this .jsonl file")
    seed: int = option(0, help="of vote subsets and bootstrap")


def run(config: Config) -> int | None:
    """Evaluate what was given; write and print the results."""
    from erprm.files.writing import written_beside

    if not (config.scored or config.processbench or config.prmbench):
        raise InputError("evaluate: give --scored, --processbench or --prmbench")
    if (config.processbench or config.prmbench) and not config.prm:
        raise InputError("evaluate: --processbench and --prmbench need --prm, the model that scores them")
    if config.export and not config.scored:
        raise InputError("evaluate: --export needs --scored")
    out = Path(config.out)
    results: dict[str, Any] = {}
    if config.scored:
        results |= _pools(config, out)
    if config.processbench or config.prmbench:
        results |= _benchmarks(config)
    with written_beside(out / "evaluation.json") as beside:
        beside.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"results: {out / 'evaluation.json'}")
    return None


def _pools(config: Config, out: Path) -> dict[str, Any]:
    from erprm.evaluation.curves import accuracy_curves, compare
    from erprm.evaluation.pools import group_by_problem, pool_of
    from erprm.evaluation.report import write_report

    groups = group_by_problem(_named(config.scored), config.size)
    pool = pool_of(groups, config.aggregate)
    size = pool.correct.shape[1]
    ns = sorted(set(config.ns)) or sorted({*(2**i for i in range(size.bit_length())), size})
    curves = accuracy_curves(pool, sorted({1, *ns}), weigh_by=config.weigh_by or next(iter(pool.scores)),
                             seed=config.seed)
    names = list(pool.scores)
    others = [name for name in ("majority", "pass@1") if name == "pass@1" or name in curves.by_problem]
    pairs = [*combinations(names, 2), *((name, other) for other in others for name in names)]
    if pool.votes < pool.correct.size:
        print(f"{pool.correct.size - pool.votes:,} of {pool.correct.size:,} solutions have no answer and do not vote"
              + ("" if pool.votes else ": no majority curve; erprm grade fills answers in"))
    paired = compare(curves, pairs, curves.ns[-1])
    calibration = _calibration(groups)
    residuals = _residuals(config, groups)
    results: dict[str, Any] = {"problems": len(pool.correct), "aggregate": config.aggregate, "seed": config.seed,
                               "policy": {"pass@1": float(pool.correct.mean())}, "best_of_n": curves.table(),
                               "bellman": {name: part.to_dict() for name, part in residuals.items()}}
    report = write_report(results, out, calibration=calibration, paired=paired, title="Choosing by process rewards")
    _print_table(results["best_of_n"])
    for name, part in residuals.items():
        print(f"Bellman residual of {name} at eta {part.eta:g}: mean {part.mean:.3f}; by depth "
              + ", ".join(f"{depth}: {at.residual:+.3f}" for depth, at in part.depths.items()))
    if config.export:
        _export(config, groups, curves.ns)
    print(f"report: {report}")
    return results | {"paired": [asdict(part) for part in paired], "calibration": [c.to_dict() for c in calibration]}


def _named(arguments: Sequence[str]) -> dict[str, list[StepRow]]:
    files: dict[str, list[StepRow]] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        name, path = (name, path) if equals else (Path(argument).stem, argument)
        if name in files:
            raise InputError(f"scored: expected different names, found {name!r} twice; write NAME=FILE")
        files[name] = list(read_rows(path))
    return files


def _calibration(groups: Any) -> list[Any]:
    """Against k/n, over the steps that have counts."""
    from erprm.statistics.calibration import calibrate
    from erprm.values import row_targets

    rows = [row for candidates in groups.rows for row in candidates]
    if not all(row.trials is not None for row in rows):
        return []
    truth = np.concatenate([row_targets(row, "soft") for row in rows])
    known = np.isfinite(truth)
    if not known.any():
        return []
    flat = {name: np.concatenate([part for candidates in scores for part in candidates])
            for name, scores in groups.scores.items()}
    return [calibrate(scores[known], truth[known], name=name) for name, scores in flat.items()]


def _residuals(config: Config, groups: Groups) -> dict[str, BellmanResidual]:
    """Of every model's scores, and of the counts, where there are two steps that follow each other."""
    from erprm.evaluation.bellman import bellman_residual
    from erprm.values import row_targets

    etas = by_name(config.eta, list(groups.scores), "eta", float)
    kinds = by_name(config.scores_are, list(groups.scores), "scores_are", str)
    rows = [row for candidates in groups.rows for row in candidates]
    if not any(len(row.steps) > 1 for row in rows):
        return {}
    found = {}
    for name, scores in groups.scores.items():
        scored = [replace(row, scores=tuple(part.tolist())) for row, part in zip(
            rows, (part for candidates in scores for part in candidates), strict=True)]
        found[name] = bellman_residual(scored, etas[name], scores_are=kinds[name], seed=config.seed)
    counted = [row_targets(row) for row in rows if row.trials is not None]
    if len(counted) == len(rows) and any(np.isfinite(known[:-1] + known[1:]).any() for known in counted):
        found["counts"] = bellman_residual(rows, next(iter(etas.values())), of="counts", seed=config.seed)
    return found


def by_name(given: Sequence[str], names: Sequence[str], option: str, kind: Callable[[str], T]) -> dict[str, T]:
    """`--option VALUE NAME=VALUE ...` as a value for each of `names`. Raises InputError."""
    default: T | None = None
    own: dict[str, T] = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        if equals and name not in names:
            raise InputError(f"{option}: expected one of {', '.join(names)} before '=', found {name!r}")
        try:
            read = kind(value)
        except ValueError:
            raise InputError(f"{option}: expected a number, found {value!r}") from None
        if equals:
            own[name] = read
        else:
            default = read
    result = {name: own.get(name, default) for name in names}
    missing = [name for name, value in result.items() if value is None]
    if missing:
        raise InputError(f"{option}: expected one for {missing[0]} too, or one for all")
    return {name: value for name, value in result.items() if value is not None}


def _export(config: Config, groups: Any, ns: Sequence[int]) -> None:
    from erprm.evaluation.pools import search_and_learn_rows
    from erprm.formats import write

    first = next(iter(groups.scores))
    report = write(str(config.export), "search-and-learn",
                   search_and_learn_rows(groups, config.weigh_by or first, config.aggregate, ns))
    print(f"search-and-learn: {config.export} ({report.records:,} problems)")


def _benchmarks(config: Config) -> dict[str, Any]:
    from erprm.evaluation.prmbench import evaluate_prmbench
    from erprm.evaluation.processbench import best_threshold, evaluate_processbench
    from erprm.formats import read
    from erprm.prm.scoring.scorer import PRMScorer

    threshold = 0.5 if config.threshold is None else config.threshold
    scorer = PRMScorer(str(config.prm), too_long="cut" if config.too_long == "cut" else "error")
    results: dict[str, Any] = {}
    if config.processbench:
        reader = read(config.processbench, "processbench")
        rows, scores = _benchmark_scores(scorer, list(reader), config)
        found = evaluate_processbench(rows, scores, threshold, config.seed)
        results["processbench"] = asdict(found)
        print(f"ProcessBench ({reader.report})\n  at threshold {found.threshold:g}: F1 {100 * found.f1:.1f} "
              f"[{100 * found.low:.1f}, {100 * found.high:.1f}], first errors found {100 * found.wrong_accuracy:.1f}, "
              f"right ones passed {100 * found.right_accuracy:.1f}")
        if config.threshold is None:
            tuned = evaluate_processbench(rows, scores, best_threshold(rows, scores), config.seed)
            results["processbench_at_its_own_best_threshold"] = asdict(tuned)
            print(f"  at its own best threshold {tuned.threshold:g}, an upper bound: F1 {100 * tuned.f1:.1f}")
    if config.prmbench:
        reader = read(config.prmbench, "prmbench")
        classes = evaluate_prmbench(*_benchmark_scores(scorer, list(reader), config), threshold)
        results["prmbench"] = {name: asdict(part) | {"score": part.score} for name, part in classes.items()}
        print(f"PRMBench ({reader.report})")
        for name, part in classes.items():
            print(f"  {name:28} score {100 * part.score:5.1f}  {part.solutions:,} solutions")
    return results


def _benchmark_scores(scorer: PRMScorer, rows: list[StepRow], config: Config) -> tuple[list[StepRow], list[Array]]:
    """Rows and their step scores [L]; what is too long is treated as chosen and counted in print."""
    if config.too_long == "error" or scorer.max_length is None or not rows:
        return rows, [np.asarray(scores, np.float64) for scores in scorer.score(rows)]
    encoded = scorer.checkpoint.convention.encode([(row.prompt, row.steps) for row in rows])
    longer = sum(len(row.ids) > scorer.max_length for row in encoded)
    if longer:
        print(f"{longer:,} of {len(rows):,} rows are longer than {scorer.max_length:,} tokens and were "
              + ("left out" if config.too_long == "skip" else "cut; steps behind the cut count as judged right"))
    if config.too_long == "skip":
        kept = [row for row, tokens in zip(rows, encoded, strict=True) if len(tokens.ids) <= scorer.max_length]
        return kept, [np.asarray(scores, np.float64) for scores in scorer.score(kept)]
    begun = [row for row, tokens in zip(rows, encoded, strict=True) if tokens.tag_positions[0] < scorer.max_length]
    found = {id(row): scores for row, scores in zip(begun, scorer.score(begun), strict=True)}
    padded = [np.full(len(row.steps), np.inf) for row in rows]
    for row, scores in zip(rows, padded, strict=True):
        known = found.get(id(row), ())
        scores[: len(known)] = known
    return rows, padded


def _print_table(table: dict[str, Any]) -> None:
    print("accuracy, %".ljust(22) + "".join(f"N={n}".rjust(8) for n in table["n"]))
    for name, entry in table.items():
        if name != "n":
            print(name.ljust(22) + "".join(f"{100 * value:.1f}".rjust(8) for value in entry["accuracy"]))
