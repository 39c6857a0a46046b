"""Best-of-N curves, calibration, ProcessBench and PRMBench: what a process reward model is worth.

    erprm evaluate --scored er_eta_2=scored-er.parquet soft=scored-soft.parquet --out runs/evaluation
    erprm evaluate --processbench gsm8k.jsonl --prm runs/prm --out runs/evaluation
    erprm evaluate --prmbench prmbench.jsonl --prm runs/prm --threshold 0.5 --out runs/evaluation
    erprm evaluate --processbench gsm8k.jsonl --scores published.jsonl --out runs/evaluation

--scored takes pools of graded solutions as `erprm score` writes them, one file per reward model, all of the same
solutions, N to a problem; a model that learnt several etas has a curve for each. Accuracy against N is exact over all
N-subsets of a pool; majority and weighted majority, pass@N as the ceiling, 95 % intervals over problems and paired
tests between the models stand beside it. A curve that falls with N shows a reward model that is being over-optimised.
Where the rows carry counts (k of n completions), calibration is added.

The benchmarks are judged by a model or by a file of its scores, one JSON line {"id": ..., "scores": [...]} per
solution. Without --threshold a development split of the problems chooses it, and the number is that of the others.

Written: evaluation.json with every number, report.html, best_of_n.png, calibration.png.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from erprm.cli.config import option
from erprm.errors import InputError
from erprm.files.records import check_source, read_records
from erprm.options import LARGEST_SEED
from erprm.prm.scoring.engines import TOO_LONG
from erprm.rows import StepRow, by_score_column, read_rows
from erprm.selection.aggregate import AGGREGATIONS

if TYPE_CHECKING:
    from erprm.evaluation.bellman import BellmanResidual
    from erprm.evaluation.pools import Groups

T = TypeVar("T")


@dataclass(frozen=True)
class Config:
    """Options of `erprm evaluate`."""

    out: str = option(help="folder for the results", writes="folder")
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
    processbench: str | None = option(None, help="ProcessBench file; needs --prm or --scores")
    prmbench: str | None = option(None, help="PRMBench file; needs --prm or --scores")
    prm: str | None = option(None, help="process reward model that scores the benchmark files")
    prm_eta: float | None = option(None, help="which eta of a --prm that learnt several")
    scores: str | None = option(None, help="step scores of the one benchmark file instead of --prm: a JSON line per "
                                           "solution, with id and scores")
    threshold: float | None = option(None, help="scores below it mean a wrong step; by default 0.5, beside what the "
                                                "development split chooses")
    development: float = option(0.2, help="share of a benchmark's problems that choose the threshold for the others; "
                                          "0: none", least=0, below=1)
    too_long: str = option("error", help="a benchmark row that is longer than the model reads: an error, cut (steps "
                                         "behind the cut count as judged right) or skipped; both are counted",
                           choices=(*TOO_LONG, "skip"))
    train_rows: tuple[str, ...] = option((), help="training rows or problems, to be looked for among the evaluation "
                                                  "problems")
    compare: tuple[str, ...] = option((), help="earlier runs to show beside this one, NAME=FOLDER or FOLDER")
    export: str | None = option(None, help="also write the pool in search-and-learn's format to this .jsonl file",
                                writes="file")
    seed: int = option(0, help="of vote subsets and bootstrap", least=0, most=LARGEST_SEED)


def run(config: Config) -> int | None:
    """Evaluate what was given; write and print the results."""
    from erprm.files.writing import locked, remove_unfinished

    if not (config.scored or config.processbench or config.prmbench):
        raise InputError("evaluate: give --scored, --processbench or --prmbench")
    benchmarks = [path for path in (config.processbench, config.prmbench) if path]
    if benchmarks and bool(config.prm) == bool(config.scores):
        raise InputError("evaluate: --processbench and --prmbench need --prm, the model that scores them, or --scores, "
                         f"a file; found {'both' if config.prm else 'neither'}")
    if config.scores and len(benchmarks) != 1:
        raise InputError(f"evaluate: --scores holds the scores of one benchmark file, found {len(benchmarks)}")
    for path in benchmarks:
        check_source(path)
    for name in ("export", "compare"):
        if getattr(config, name) and not config.scored:
            raise InputError(f"evaluate: --{name} needs --scored")
    with locked(config.out):
        remove_unfinished(Path(config.out))
        _evaluate(config, Path(config.out), benchmarks)
    return None


def _evaluate(config: Config, out: Path, benchmarks: Sequence[str]) -> None:
    from erprm.files.writing import atomic_write

    results: dict[str, Any] = {}
    for found in ([_pools(config, out)] if config.scored else []) + ([_benchmarks(config)] if benchmarks else []):
        contamination = results.get("contamination", {}) | found.pop("contamination", {})
        results |= found | ({"contamination": contamination} if contamination else {})
    with atomic_write(out / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"results: {out / 'evaluation.json'}")


def _pools(config: Config, out: Path) -> dict[str, Any]:
    from erprm.evaluation.curves import accuracy_curves, compare
    from erprm.evaluation.diagnostics import diagnostics
    from erprm.evaluation.pools import expected_rewards, group_by_problem, pool_of
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
    asked = [row.prompt for candidates in groups.rows for row in candidates[:1]]
    results: dict[str, Any] = {"problems": len(pool.correct), "aggregate": config.aggregate, "seed": config.seed,
                               "policy": {"pass@1": float(pool.correct.mean())}, "votes": pool.votes,
                               "best_of_n": curves.table(),
                               "bellman": {name: part.to_dict() for name, part in residuals.items()},
                               "runs": _runs(config.compare)}
    results |= diagnostics(groups, pool, curves, config.aggregate, config.seed)
    results |= _contamination(config, {"the pools": asked})
    report = write_report(results, out, calibration=calibration, paired=paired, title="Choosing by process rewards")
    _print_table(results["best_of_n"])
    rewards = expected_rewards(groups, pool, curves.ns)
    if rewards:
        results["expected_reward"] = {"n": list(curves.ns), **rewards}
        print("expected reward, of graded outcomes; the accuracy above takes 1 alone for right:")
        for name, values in rewards.items():
            print(f"  {name}: " + ", ".join(f"{value:.3f} at {n}" for n, value in zip(curves.ns, values, strict=True)))
    for name, part in residuals.items():
        print(f"Bellman residual of {name} at eta {part.eta:g}: mean {part.mean:.3f}; by depth "
              + ", ".join(f"{depth}: {at.residual:+.3f}" for depth, at in part.depths.items()))
    _print_diagnostics(results)
    if config.export:
        _export(config, groups, curves.ns)
    print(f"report: {report}")
    return results | {"paired": [asdict(part) for part in paired], "calibration": [c.to_dict() for c in calibration]}


def _runs(arguments: Sequence[str]) -> dict[str, Any]:
    """By name, what earlier runs' evaluation.json say of best-of-N."""
    found: dict[str, Any] = {}
    for argument in arguments:
        name, equals, folder = argument.rpartition("=")
        name, path = name if equals else Path(folder).name, Path(folder) / "evaluation.json"
        if name in found:
            raise InputError(f"compare: expected different names, found {name!r} twice; write NAME=FOLDER")
        if not path.is_file():
            raise InputError(f"compare: expected the folder of an earlier run, found no {path}")
        try:
            results = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {"best_of_n": results["best_of_n"], "problems": results["problems"]}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: expected the results of erprm evaluate --scored, found none") from error
    return found


def _contamination(config: Config, questions: dict[str, list[str]]) -> dict[str, Any]:
    """How many of the questions, by where they are from, stand among those of --train-rows."""
    from erprm.evaluation.contamination import contamination

    if not config.train_rows:
        return {}
    training = [_question(record, f"{path}:{number}") for path in config.train_rows
                for number, record in read_records(path)]
    found = {name: contamination(texts, training).to_dict() for name, texts in questions.items()}
    for name, part in found.items():
        print(f"{part['equal']:,} of {part['questions']:,} questions of {name} are among {part['training']:,} training "
              f"questions, {part['similar']:,} more are similar")
    return {"contamination": found}


def _question(record: Mapping[str, Any], where: str) -> str:
    for name in ("prompt", "question", "problem"):
        if isinstance(record.get(name), str):
            return str(record[name])
    raise InputError(f"{where}: expected a prompt, question or problem, found {', '.join(record)}")


def _print_diagnostics(results: dict[str, Any]) -> None:
    for name, part in results["over_optimisation"].items():
        if (test := part["turn_down"]) and test["beyond_noise"]:
            print(f"over-optimised: {name} falls from N = {test['peak']} to {test['last']} by {100 * test['drop']:.1f} "
                  f"points [{100 * test['low']:.1f}, {100 * test['high']:.1f}], beyond noise")
    for name, part in results["adaptive"].items():
        print(f"adaptive best-of-N by {name}: {part['candidates']:.1f} candidates, {part['saved']:.1%} of the text "
              f"saved, accuracy {100 * part['accuracy']:.1f} instead of {100 * part['full']:.1f}")


def _named(arguments: Sequence[str]) -> dict[str, list[StepRow]]:
    files: dict[str, list[StepRow]] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        name, path = (name, path) if equals else (Path(argument).stem, argument)
        try:
            columns = by_score_column(list(read_rows(path)))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        for column, rows in columns.items():
            full = f"{name} {column}".rstrip()
            if full in files:
                raise InputError(f"scored: expected different names, found {full!r} twice; write NAME=FILE")
            files[full] = rows
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

    names = list(groups.scores)
    of_columns = [f"{name}={name.rpartition(' eta=')[2]}" for name in names if " eta=" in name]  # see by_score_column
    etas = by_name([*of_columns, *config.eta], names, "eta", float)
    kinds = by_name(config.scores_are, names, "scores_are", str)
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
    from erprm.evaluation import benchmarks
    from erprm.evaluation.score_files import read_scores
    from erprm.formats import read
    from erprm.prm.scoring.scorer import PRMScorer

    scorer = PRMScorer(config.prm, too_long="cut" if config.too_long == "cut" else "error",
                       eta=config.prm_eta) if config.prm else None
    results: dict[str, Any] = {}
    overlap: dict[str, Any] = {}
    for name, title, path, judge, show in (
            ("processbench", "ProcessBench", config.processbench, benchmarks.processbench, _print_processbench),
            ("prmbench", "PRMBench", config.prmbench, benchmarks.prmbench, _print_prmbench)):
        if path:
            reader = read(path, name)
            rows = list(reader)
            rows, scores = (rows, read_scores(str(config.scores), rows, path)) if scorer is None else \
                benchmarks.model_scores(scorer, rows, config.too_long)
            results[name] = judge(rows, scores, config.threshold, config.development, config.seed)
            overlap |= _contamination(config, {title: [row.prompt for row in rows]}).get("contamination", {})
            print(f"{title} ({reader.report})")
            show(results[name])
            if config.threshold is None and config.development and results[name]["development"] is None:
                print("  too few solutions for a development split with right and wrong ones on both sides")
    return results | ({"contamination": overlap} if overlap else {})


def _print_processbench(found: dict[str, Any]) -> None:
    def line(words: str, part: dict[str, Any]) -> None:
        print(f"  {words}: F1 {100 * part['f1']:.1f} [{100 * part['low']:.1f}, {100 * part['high']:.1f}], first errors "
              f"found {100 * part['wrong_accuracy']:.1f}, right ones passed {100 * part['right_accuracy']:.1f}")

    line(f"at threshold {found['fixed']['threshold']:g}", found["fixed"])
    if split := found.get("development"):
        line(f"at {split['threshold']:g}, chosen on {split['chosen_on']:,} solutions, the other "
             f"{split['solutions']:,}", split)
    if best := found.get("own_best"):
        line(f"at its own best threshold {best['threshold']:g}, an upper bound", best)


def _print_prmbench(found: dict[str, Any]) -> None:
    split = found.get("development")
    if split:
        print(f"  scores at a fixed threshold, and at {split['threshold']:g}, chosen on {split['chosen_on']:,} "
              f"solutions, of the other {split['solutions']:,}")
    for name, part in found["fixed"].items():
        other = split["classes"].get(name) if split else None
        print(f"  {name:28} {100 * part['score']:5.1f}"
              + (f" {100 * other['score']:5.1f}" if other else "     –" if split else "")
              + f"  {part['solutions']:,} solutions")


def _print_table(table: dict[str, Any]) -> None:
    print("accuracy, %".ljust(22) + "".join(f"N={n}".rjust(8) for n in table["n"]))
    for name, entry in table.items():
        if name != "n":
            print(name.ljust(22) + "".join(f"{100 * value:.1f}".rjust(8) for value in entry["accuracy"]))
