"""What kinds of labels are worth: how often they are wrong, and what reward models that learn them can do.

    erprm demo --out runs/demo
    python bench/labels.py --demo runs/demo --out runs/labels --output bench/results/labels.json

The solutions of a finished demo (or of a policy of a study) are labelled in two ways: by the demo's own n completions
from every prefix, from which hard, soft and entropy-regularised (er@ETA) labels follow, and by `erprm label --find
first-error`, from which first-error labels follow (soft, by the posterior). The task's own step checker judges all of
them, and `erprm filter` keeps the rows on which completions and checker agree about the first wrong step. The demo's
contrast rows are left out: they have no counts behind the prefix, so that there is nothing to agree about.

Labels: of the steps up to the first wrong one, the share whose label lies on the other side of 1/2 than the checker's
verdict, and of the rows the share kept, before and after the consensus.

Reward models: one for each kind, before and after, and PRM seed, trained by `erprm train` with early stopping on
labelled validation solutions. Two designs: "rows", where each arm has equally many rows of the same solutions; and
"tokens", where each way to label has the same tokens to spend, so that the dearer one labels fewer problems (the
checker costs none). All are compared on the held-out pool, whose solutions the checker judges: step AUC, F1 of the
first wrong step in ProcessBench's form (threshold chosen on the validation pool), and best-of-N (aggregation, too).

Every figure is the mean over problems of one value each: AUC and F1 are linearised for that (their influence
functions by problem, as DeLong et al. 1988 and Obuchowski 1997 do for the AUC), so that intervals and paired tests
are those of `erprm.statistics.bootstrap`, over problems, of the mean over PRM seeds. They say nothing of another policy
or of the spread over PRM seeds, which stands beside them. A cell (design, kind, before or after, seed) is one file,
done once; what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np

from erprm.demo.commands import command
from erprm.demo.outcome import best_aggregations
from erprm.demo.settings import DemoSettings
from erprm.errors import InputError
from erprm.evaluation.pools import group_by_problem, pool_of
from erprm.evaluation.processbench import best_threshold, first_below
from erprm.files.writing import remove_folder
from erprm.judging.judges import Judge, from_verdicts
from erprm.judging.verdicts import verdict_row
from erprm.problems.tasks import task
from erprm.rollouts.store import read_parts
from erprm.rows import StepRow, read_rows, row_scores, write_rows
from erprm.selection.best_of_n import best_of_n_by_problem
from erprm.statistics.bootstrap import bootstrap_interval, holm, paired_test
from erprm.study.cells import Learnt
from erprm.values import Array
from erprm.values.spec import TargetSpec

FIXED, BISECTED = "fixed", "first-error"  # ways to label
BEFORE, AFTER = "all", "agreed"  # rows before and after the consensus
DESIGNS = ("rows", "tokens")
METRICS = ("step_auc", "first_error_f1", "best_of_n")
BASE = f"hard {BEFORE}"  # what every arm is compared with


def way_of(kind: str) -> str:
    """By which completions the labels of a kind come."""
    return BISECTED if kind == "first-error" else FIXED


@dataclass(frozen=True, eq=False)
class Bench:
    """One demo's folder, the folder of what is made here, and the command line."""

    demo: Path
    folder: Path
    given: argparse.Namespace

    @property
    def settings(self) -> DemoSettings:
        """Those of the demo."""
        return common.demo_settings(self.demo)

    @property
    def policy(self) -> Path:
        return self.demo / "models" / "policy"

    def problems(self, split: str) -> Path:
        return self.demo / "problems" / f"{split}.jsonl"

    def store(self, way: str) -> Path:
        """Of completions."""
        return self.demo / "labels" if way == FIXED else self.folder / BISECTED

    def labelled(self, way: str, consensus: str = BEFORE) -> Path:
        """Rows with counts."""
        return self.store(way) / "rows.parquet" if consensus == BEFORE else self.folder / f"agreed-{way}.parquet"

    def label(self, solutions: Path, out: Path, **more: Any) -> None:
        """`erprm label` with the demo's settings."""
        settings = self.settings
        command("label", problems=self.problems("label"), solutions=solutions, policy=self.policy,
                n=settings.completions, seed=settings.seed, max_tokens=task(settings.task).max_tokens,
                splitter="newline", out=out, **more)()

    def prepare(self) -> None:
        """Everything but the reward models; what is there already is left."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.label(self.demo / "solutions.parquet", self.store(BISECTED), find="first-error",
                   confidence=self.given.confidence)
        for split, rows in (("label", "solutions"), ("validation", "validation"), ("heldout", "pool")):
            if not self.verdicts_at(split).is_file():
                command("judge", rows=self.demo / f"{rows}.parquet", problems=self.problems(split),
                        judge="program", out=self.verdicts_at(split))()
        confidence = {BISECTED: {"confidence": self.given.confidence}}
        for way in (FIXED, BISECTED):
            if not self.labelled(way, AFTER).is_file():
                command("filter", rows=self.labelled(way), consensus=self.verdicts_at("label"),
                        out=self.labelled(way, AFTER), **confidence.get(way, {}))()

    def verdicts_at(self, split: str) -> Path:
        return self.folder / f"verdicts-{split}.parquet"

    def judge(self, split: str) -> Judge:
        """The task's checker, as it was written down."""
        return from_verdicts(read_rows(self.verdicts_at(split)))

    @functools.cache  # noqa: B019  (asked by every cell; a bench lives as long as the program)
    def tokens(self, way: str) -> dict[str, int]:
        """Generated tokens by problem."""
        found: dict[str, int] = {}
        for table in read_parts(self.store(way), ["problem_id", "tokens"]):
            for record in table.to_pylist():
                found[record["problem_id"]] = found.get(record["problem_id"], 0) + record["tokens"]
        return found


# ---- labels against the checker's verdicts ----

def label_errors(rows: Sequence[StepRow], spec: TargetSpec, judge: Judge) -> dict[str, float]:
    """Shares of step labels on the wrong side of 1/2, of the steps up to the first wrong one; counts."""
    spec = spec.fitted_to_rows(rows)
    right, called = [], []
    for row in rows:
        values, wrong = spec.of_row(row), judge(row)
        judged = len(values) if wrong is None else wrong + 1
        known = ~np.isnan(values[:judged])
        right.append((np.arange(judged) < (judged if wrong is None else wrong))[known])
        called.append(values[:judged][known] > 0.5)
    truth, labels = np.concatenate(right), np.concatenate(called)
    return {"rows": len(rows), "steps": len(truth), "wrong_share": float(np.mean(truth != labels)),
            "right_steps_called_wrong": float(np.mean(~labels[truth])),
            "wrong_steps_called_right": float(np.mean(labels[~truth]))}


def spec_of(kind: str) -> TargetSpec:
    """Its targets."""
    learnt = Learnt.of(kind)
    return TargetSpec(learnt.kind) if learnt.eta is None else TargetSpec(learnt.kind, learnt.eta, learnt.estimator)


# ---- which rows an arm trains on ----

def training_rows(bench: Bench) -> dict[tuple[str, str, str], list[StepRow]]:
    """By (design, kind, consensus); solutions and problems come in an order of their own, the same for all arms."""
    draw = np.random.default_rng(bench.given.seed)
    rows = {(way, consensus): list(read_rows(bench.labelled(way, consensus)))
            for way in {way_of(kind) for kind in bench.given.kinds} for consensus in (BEFORE, AFTER)}
    solutions = [row.solution_id for row in read_rows(bench.labelled(FIXED))]
    place = dict(zip(solutions, draw.permutation(len(solutions)).tolist(), strict=True))
    problems = list(dict.fromkeys(row.problem_id for row in read_rows(bench.labelled(FIXED))))
    turn = [problems[number] for number in draw.permutation(len(problems))]
    size = min(map(len, rows.values()))
    tokens = {way: bench.tokens(way) for way, _ in rows}
    budget = min(sum(found.values()) for found in tokens.values())
    found: dict[tuple[str, str, str], list[StepRow]] = {}
    for kind in bench.given.kinds:
        way = way_of(kind)
        spent = np.cumsum([tokens[way].get(problem, 0) for problem in turn])
        paid = set(turn[: int(np.searchsorted(spent, budget, "right"))])
        for consensus in (BEFORE, AFTER):
            chosen = rows[way, consensus]
            found["rows", kind, consensus] = sorted(chosen, key=lambda row: place[row.solution_id])[:size]
            found["tokens", kind, consensus] = [row for row in chosen if row.problem_id in paid]
    return {key: value for key, value in found.items() if key[0] in bench.given.designs}


# ---- a cell ----

def cell(bench: Bench, key: tuple[str, str, str], rows: Sequence[StepRow], seed: int) -> dict[str, Any]:
    """What came of one training, from its file or done now. Raises InputError for a file of other settings."""
    design, kind, consensus = key
    name = f"{design}/{kind}/{consensus}/prm-{seed}"
    path, given, settings = bench.folder / "cells" / f"{name}.json", bench.given, bench.settings
    about = {"rows": len(rows), "steps": given.steps or settings.prm_steps, "evaluations": given.evaluations,
             "patience": given.patience, "confidence": given.confidence, "order": given.seed}
    if path.is_file():
        done: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if done["settings"] != about:
            raise InputError(f"{path}: done with {done['settings']}, asked for {about}; give another --out")
        return done
    work = bench.folder / "work" / name
    model, data = work / "model", work / "rows.parquet"
    work.mkdir(parents=True, exist_ok=True)
    if not data.is_file():
        write_rows(data, rows)
    started = time.monotonic()
    command("train", model=bench.policy, data=data, eval=bench.demo / "validation-labels" / "rows.parquet",
            out=model, max_steps=about["steps"], batch_size=settings.prm_batch, weight_decay=0.01, warmup=30,
            learning_rate=settings.prm_learning_rate, evaluations=given.evaluations, patience=given.patience, seed=seed,
            **Learnt.of(kind).options(()))()
    trained = time.monotonic() - started
    scored = {}
    for split, source in (("validation", "validation"), ("heldout", "pool")):
        scored[split] = work / f"scored-{split}.parquet"
        command("score", model=model, rows=bench.demo / f"{source}.parquet", out=scored[split])()
    history = json.loads((model / "history.json").read_text(encoding="utf-8"))
    done = {"settings": about, "tokens": sum(bench.tokens(way_of(kind)).get(problem, 0) for problem in
                                              {row.problem_id for row in rows}),
            "optimiser_steps": max(entry["step"] for entry in history), "seconds_trained": round(trained, 1),
            "seconds": round(time.monotonic() - started, 1), **measured(bench, scored)}
    common.save(path, done)
    remove_folder(work)
    return done


def measured(bench: Bench, scored: dict[str, Path]) -> dict[str, Any]:
    """The three figures on the held-out pool, [P] values each."""
    rows = {split: list(read_rows(path)) for split, path in scored.items()}
    wrong = {split: list(map(bench.judge(split), rows[split])) for split in rows}
    scores = {split: [np.array(row_scores(row), np.float64) for row in rows[split]] for split in rows}
    threshold = best_threshold([verdict_row(row, first) for row, first in zip(rows["validation"], wrong["validation"],
                                                                              strict=True)], scores["validation"])
    groups = {split: group_by_problem({"prm": rows[split]}) for split in rows}
    aggregation = best_aggregations(groups["validation"])
    pool = pool_of(groups["heldout"], aggregation)
    best = best_of_n_by_problem(pool.scores["prm"], pool.correct, [len(groups["heldout"].rows[0])])[:, 0]
    problem = numbered(row.problem_key for row in rows["heldout"])
    figures = {"step_auc": auc_by_problem(scores["heldout"], wrong["heldout"], problem),
               "first_error_f1": f1_by_problem(scores["heldout"], wrong["heldout"], problem, threshold),
               "best_of_n": best}
    return {"threshold": threshold, "aggregation": aggregation["prm"], "by_problem": {
        name: np.round(values, 6).tolist() for name, values in figures.items()}}


def numbered(keys: Iterable[str]) -> Array:
    """Whole numbers from 0 in the order in which keys first come."""
    seen: dict[str, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys])


def auc_by_problem(scores: Sequence[Array], wrong: Sequence[int | None], problem: Array) -> Array:
    """[P] whose mean is the AUC of right steps against first wrong ones; see the module."""
    ends = [len(given) if first is None else first + 1 for given, first in zip(scores, wrong, strict=True)]
    values = np.concatenate([given[:end] for given, end in zip(scores, ends, strict=True)])
    right = np.concatenate([np.arange(end) < (end if first is None else first)
                            for end, first in zip(ends, wrong, strict=True)])
    where = np.repeat(problem, ends)
    good, bad = np.sort(values[right]), np.sort(values[~right])
    above = np.where(right, _share_below(bad, values), 1.0 - _share_below(good, values))
    auc = float(above[right].mean())
    return auc + _influence(above - auc, right, where) + _influence(above - auc, ~right, where)


def f1_by_problem(scores: Sequence[Array], wrong: Sequence[int | None], problem: Array, threshold: float) -> Array:
    """[P] whose mean is ProcessBench's F1 at the threshold; see the module."""
    hit = np.array([first_below(given, threshold) == (-1 if first is None else first)
                    for given, first in zip(scores, wrong, strict=True)], np.float64)
    has = np.array([first is not None for first in wrong])
    a, b = float(hit[has].mean()), float(hit[~has].mean())
    total = max(a + b, 1e-12)
    return (2 * a * b / total + 2 * (b / total) ** 2 * _influence(hit - a, has, problem)
            + 2 * (a / total) ** 2 * _influence(hit - b, ~has, problem))


def _share_below(sorted_values: Array, values: Array) -> Array:
    """Of each value the share of the others below it; ties count half."""
    return (np.searchsorted(sorted_values, values, "left")
            + np.searchsorted(sorted_values, values, "right")) / (2 * len(sorted_values))


def _influence(centred: Array, inside: Array, problem: Array) -> Array:
    """[P]: what each problem adds to a mean over `inside`, times P; sums to 0 where `centred` has that mean."""
    count = int(problem.max()) + 1
    return np.bincount(problem[inside], centred[inside], count) * count / inside.sum()


# ---- the tables ----

def arms_of(cells: dict[tuple[str, str, str, int], list[dict[str, Any]]], design: str, given: argparse.Namespace,
            ) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """(each arm's figures, the comparisons) of a design; `cells` hold one entry a demo."""
    arms: dict[str, dict[str, Any]] = {}
    by_problem: dict[tuple[str, str], Array] = {}
    for kind in given.kinds:
        for consensus in (BEFORE, AFTER):
            found = [cells[design, kind, consensus, seed] for seed in given.seeds]
            name = f"{kind} {consensus}"
            arm: dict[str, Any] = {
                key: [one[key] if key != "rows" else one["settings"]["rows"] for one in found[0]]
                for key in ("rows", "tokens")}
            for metric in METRICS:
                by_seed = np.array([np.concatenate([one["by_problem"][metric] for one in demos]) for demos in found])
                by_problem[name, metric] = by_seed.mean(axis=0)
                low, high = bootstrap_interval(by_problem[name, metric], seed=given.seed)
                arm[metric] = {"mean": float(by_seed.mean()), "low": float(low), "high": float(high),
                               "by_prm_seed": by_seed.mean(axis=1).tolist()}
            arms[name] = arm
    pairs = [(name, BASE) for name in arms if name != BASE and BASE in arms]
    pairs += [(f"{kind} {AFTER}", f"{kind} {BEFORE}") for kind in given.kinds if f"{kind} {BEFORE}" != BASE]
    tests = []
    for metric in METRICS:
        results = [paired_test(by_problem[first, metric], by_problem[second, metric], seed=given.seed)
                   for first, second in pairs]
        for pair, result, p in zip(pairs, results, holm([result.p for result in results]), strict=True):
            gaps = [a - b for a, b in zip(*(arms[name][metric]["by_prm_seed"] for name in pair), strict=True)]
            tests.append({"metric": metric, "first": pair[0], "second": pair[1], **dataclasses.asdict(result),
                          "p_holm": p, "by_prm_seed": gaps})
    return arms, tests


def options(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, nargs="+", required=True, help="folders of finished demos; only read")
    parser.add_argument("--out", type=Path, required=True, help="folder for labels, verdicts and cells")
    parser.add_argument("--output", type=Path, help="result file")
    parser.add_argument("--kinds", nargs="+", default=["hard", "soft", "er@2", "first-error"])
    parser.add_argument("--designs", nargs="*", default=list(DESIGNS), choices=DESIGNS, help="none: train nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of the reward models")
    parser.add_argument("--steps", type=int, help="most optimiser steps of each (default: as in the demo)")
    parser.add_argument("--evaluations", type=int, default=DemoSettings().evaluations,
                        help="on the validation rows, for early stopping")
    parser.add_argument("--patience", type=int, default=DemoSettings().patience,
                        help="evaluations without a better step AUC")
    parser.add_argument("--confidence", type=float, default=0.9, help="of bisection, and of the consensus on it")
    parser.add_argument("--seed", type=int, default=0, help="of the order of rows and of resampling")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    given = options(words)
    benches = [Bench(demo, given.out / str(number), given) for number, demo in enumerate(given.demo)]
    labels: dict[str, list[dict[str, float]]] = {}
    cells: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {}
    spent: list[dict[str, int]] = []
    for bench in benches:
        bench.prepare()
        judge = bench.judge("label")
        spent.append({way: sum(bench.tokens(way).values()) for way in (FIXED, BISECTED)})
        for kind in given.kinds:
            for consensus in (BEFORE, AFTER):
                rows = list(read_rows(bench.labelled(way_of(kind), consensus)))
                labels.setdefault(f"{kind} {consensus}", []).append(label_errors(rows, spec_of(kind), judge))
        for key, rows in training_rows(bench).items():
            for seed in given.seeds:
                cells.setdefault((*key, seed), []).append(cell(bench, key, rows, seed))
    asked = {name: value for name, value in vars(given).items() if name not in ("demo", "out", "output")}
    result: dict[str, Any] = {"environment": common.environment(), "demos": len(benches), **asked,
                              "tasks": [bench.settings.task for bench in benches], "tokens": spent, "labels": labels}
    for name, found in labels.items():
        print(f"{name:20} wrong step labels " + ", ".join(
            f"{100 * one['wrong_share']:.2f} % of {one['steps']:,} in {one['rows']:,} rows" for one in found))
    for design in given.designs:
        arms, tests = arms_of(cells, design, given)
        result[f"equal {design}"] = {"arms": arms, "comparisons": tests}
        for name, arm in arms.items():
            print(f"equal {design}: {name:20} " + ", ".join(
                f"{metric} {arm[metric]['mean']:.3f} [{arm[metric]['low']:.3f}, {arm[metric]['high']:.3f}]"
                for metric in METRICS) + f", rows {arm['rows']}")
        for one in tests:
            print(f"equal {design}: {one['metric']:15} {one['first']:20} - {one['second']:12} {one['difference']:+.3f} "
                  f"[{one['low']:+.3f}, {one['high']:+.3f}], Holm p {one['p_holm']:.3f}")
    common.write_result(given.output, result)


if __name__ == "__main__":
    main()
