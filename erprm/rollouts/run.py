"""Labelling: completions sampled from every distinct unfinished prefix of solutions, graded and counted.

    with GraderPool() as grader:
        report = label(problems, rows, engine, Sampling(max_tokens=256), "runs/labels", grader, LabelOptions(n=16))
    print(report)                                   # what was sampled, saved, truncated, found from earlier runs
    read_rows("runs/labels/rows.parquet")           # the rows with successes and trials

Equal prefixes are sampled once (a trie over steps), prefixes at which a solution ended not at all. Run again, with the
same store, it does only what is missing; `n` may be raised. With other settings the store refuses.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from erprm.engines.base import Engine, Sampling
from erprm.errors import InputError
from erprm.files.progress import Bar, progress
from erprm.grading import GraderPool
from erprm.grading.answered import Answered
from erprm.grading.parts import PartsReport
from erprm.problems import Problem
from erprm.rollouts.accuracy import Accurate
from erprm.rollouts.allocation import Adaptive, Chains, Counts, Tally
from erprm.rollouts.completing import Completer
from erprm.rollouts.contrast import contrast_rows
from erprm.rollouts.finding import FirstErrors, Found
from erprm.rollouts.plan import Plan, find_problem
from erprm.rollouts.report import LabelReport, Saved
from erprm.rollouts.settings import store_settings
from erprm.rollouts.store import RolloutStore
from erprm.rows import StepRow, rows_as_bytes
from erprm.steps import join_steps

Rule = Adaptive | Accurate | FirstErrors


@dataclass(frozen=True)
class LabelOptions:
    """How much to sample.

    Attributes:
        n: completions per prefix; with `adaptive`, which has its own bounds, not used.
        adaptive: the rule by which a prefix has enough; None: n for each.
        token_budget: generated tokens in all, earlier runs of the store included; never exceeded.
        seed: of the run; a prefix's completions follow from it, the prefix and the policy.
        splitter: what stood between two steps (`erprm.steps`).
        count_own_outcome: count a solution's own outcome as a sample of its prefixes; right when the policy wrote it.
        count_passing: count a completion also at the longer prefixes that it passes through; None: with a rule.
        part_completions: completions committed together.
        contrast: right and wrong completions per prefix to write as rows to contrast.parquet; 0: none.
    """

    n: int = 16
    adaptive: Rule | None = None
    token_budget: int | None = None
    seed: int = 0
    splitter: str = "newline"
    count_own_outcome: bool = False
    count_passing: bool | None = None
    part_completions: int = 2048
    contrast: int = 0

    def __post_init__(self) -> None:
        for name in ("n", "part_completions"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, found {getattr(self, name)}")
        if self.contrast < 0:
            raise InputError(f"contrast: expected 0 or more completions per prefix, found {self.contrast}")
        if self.token_budget is not None and self.token_budget < 1:
            raise InputError(f"token_budget: expected at least 1, found {self.token_budget}")

    def check_graded(self) -> None:
        """Raise InputError for what needs completions that are right or wrong."""
        asked = {"a rule (--rmse, --width, --settled, --find)": self.adaptive is not None,
                 "--count-passing": bool(self.count_passing), "--count-own-outcome": self.count_own_outcome,
                 "--contrast": self.contrast > 0}
        for name, given in asked.items():
            if given:
                raise InputError(f"reward: expected strict rewards with {name}, which counts right completions, found "
                                 "graded ones")

    @property
    def counts_passing(self) -> bool:
        """Whether a completion counts also where it passes: with a fixed n, n trials are what was asked for."""
        return self.adaptive is not None if self.count_passing is None else self.count_passing


def label(problems: Sequence[Problem], rows: Sequence[StepRow], engine: Engine, sampling: Sampling, place: str | Path,
          grader: GraderPool, options: LabelOptions | None = None, source: str = "solutions",
          keep: Callable[[list[StepRow]], list[StepRow]] | None = None) -> LabelReport:
    """Count, for every prefix of `rows`, how many of its completions are right.

    Args:
        problems: what the rows are solutions to, matched by problem_id, or else by prompt.
        rows: solutions in steps; those without an outcome are graded first.
        place: the store, a local folder or an fsspec URL.
        source: what error messages call the rows.
        keep: chooses of the labelled rows those that go to `<place>/agreed.parquet` besides.

    Returns:
        The report. `<place>/rows.parquet` holds the rows with successes and trials per step (the last step of a
        finished row: its outcome, 1 trial), and in `extra["truncated"]`, where there were any, per step how many
        completions were cut off at max_tokens.

    Raises:
        InputError: for no problems or rows, a row that fits no problem, a store with other settings or another writer.
        OSError: for a full disk; what was committed is kept.
    """
    options = options or LabelOptions()
    settings = store_settings("label", engine.fingerprint(), sampling, problems, options.seed, options.splitter,
                              grader.settings())
    if grader.graded:
        options.check_graded()
    rows, plan, nodes = plan_labels(problems, rows, settings, grader, options, source)
    with RolloutStore.open(place, settings) as store:
        started = time.perf_counter()
        earlier = Answered("completions")
        parts = PartsReport()
        restored = plan.restore(_counted(store.completed(texts=plan.counts_passing), earlier, grader, parts))
        run = Run(plan, options, nodes, rows)
        with progress("labelling", run.total(), "completions") as bar:
            completer = run.fill(engine, sampling, store, grader, bar, parts)
        completer.answered.count(earlier.texts, earlier.without, earlier.cut)
        done = labelled(rows, nodes, plan)
        path = store.write("rows.parquet", rows_as_bytes(done, ".parquet"))
        agreed = store.write("agreed.parquet", rows_as_bytes(keep(done), ".parquet")) if keep is not None else None
        pairs = list(contrast_rows(place, done, options.contrast, options.splitter)) if options.contrast else []
        contrast = store.write("contrast.parquet", rows_as_bytes(pairs, ".parquet")) if options.contrast else None
        return LabelReport(
            rows=path, solutions=len(rows), prefixes=int(plan.open.sum()), restored=restored,
            completions=completer.completions, tokens=completer.tokens, truncated=int(plan.truncated.sum()),
            quarantined=tuple(store.quarantined), saved=run.saved(), out_of_budget=completer.out_of_budget,
            seconds=time.perf_counter() - started, engine_seconds=completer.engine_seconds, grading=str(grader.report),
            answered=completer.answered, parts=completer.parts,
            passing=int(plan.passed.sum()), rmse=run.expected_rmse(), found=run.found(), contrast=contrast,
            contrast_rows=len(pairs), agreed=agreed)


def _counted(tables: Iterable[pa.Table], answered: Answered, grader: GraderPool, report: PartsReport,
             ) -> Iterator[pa.Table]:
    """The completions of earlier runs, counted on their way, with the rewards that this grader makes of their parts."""
    for table in tables:
        without = np.array([answer is None for answer in table["answer"].to_pylist()], bool)
        cut = np.array([reason == "length" for reason in table["finish_reason"].to_pylist()], bool)
        answered.count(len(without), int(without.sum()), int((without & cut).sum()))
        parts = [json.loads(text) if text else {} for text in table["parts"].to_pylist()]
        for one in parts:
            report.add(one)
        rewards = [grader.total(reward, one) for reward, one in zip(table["reward"].to_pylist(), parts, strict=True)]
        yield table.set_column(table.schema.get_field_index("reward"), "reward", pa.array(rewards, pa.float64()))


def plan_labels(problems: Sequence[Problem], rows: Sequence[StepRow], settings: dict[str, str],
                grader: GraderPool | None, options: LabelOptions, source: str,
                ) -> tuple[list[StepRow], Plan, list[npt.NDArray[np.int64]]]:
    """(rows with outcomes, their prefixes in a plan, each row's nodes [L]). Without a grader, outcomes stay unknown."""
    if not problems:
        raise InputError("problems: expected at least one, found an empty set")
    if not rows:
        raise InputError(f"{source}: expected at least one solution, found none")
    by_id = {problem.id: problem for problem in problems}
    by_question = {problem.question: problem for problem in problems}
    places = [f"{source}:{number}" for number in range(1, len(rows) + 1)]
    owners = [find_problem(row, by_id, by_question, where) for row, where in zip(rows, places, strict=True)]
    # Rows that were matched by their prompt get the problem's id, by which completions are found again.
    rows = [row if row.problem_id == owner.id else dataclasses.replace(row, problem_id=owner.id)
            for row, owner in zip(rows, owners, strict=True)]
    ungraded = [index for index, row in enumerate(rows) if row.outcome is None]
    if grader is not None and ungraded:
        found = grader.verdicts([(join_steps(row.steps, options.splitter, gaps=row.gaps), owners[index])
                                   for index in ungraded for row in [rows[index]]])
        for index, verdict in zip(ungraded, found, strict=True):
            rows[index] = dataclasses.replace(rows[index], outcome=verdict.reward)
    plan = Plan(settings, options.splitter, options.seed, options.counts_passing,
                graded=grader is not None and grader.graded)
    nodes = plan.add_solutions(owners, rows, places, options.count_own_outcome)
    plan.ready()
    return rows, plan, nodes


class Run:
    """One run over a plan: what is wanted, in rounds when the rule is adaptive, and what was saved.

    Args:
        nodes: of each row, the prefixes that end with its steps, [L] each.
        rows: the solutions.
    """

    def __init__(self, plan: Plan, options: LabelOptions, nodes: Sequence[npt.NDArray[np.int64]],
                 rows: Sequence[StepRow]) -> None:
        self._plan, self._options = plan, options
        self._open = np.flatnonzero(plan.open)
        uses = np.bincount(np.concatenate(nodes), minlength=len(plan.open))
        self._uses, self._own = uses[self._open], plan.own[self._open]
        place = np.full(len(plan.open), -1)
        place[self._open] = np.arange(len(self._open))
        self._parents = place[plan.ledger.parents()[self._open]]
        self._chains = Chains(np.cumsum([0, *map(len, nodes)]), place[np.concatenate(nodes)],
                              np.array([row.outcome if row.finished else np.nan for row in rows], np.float64))
        rule = options.adaptive
        if rule is None:
            plan.ledger.want(self._open, options.n)
        else:
            self._raise_wants(rule)

    def total(self) -> int:
        """Completions that this run will sample, as far as is known now."""
        return self._plan.ledger.missing()

    def fill(self, engine: Engine, sampling: Sampling, store: RolloutStore, grader: GraderPool, bar: Bar,
             parts: PartsReport) -> Completer:
        """Sample until every prefix has enough or the budget is spent. `parts` are those of earlier runs."""
        def after(completions: int, tokens: int) -> None:
            bar.note = self._note()
            bar.advance(completions, tokens=tokens)

        completer = Completer(self._plan, engine, sampling, store, grader, self._options.part_completions,
                              self._options.token_budget, after)
        completer.parts = parts
        while True:
            completer.run()
            rule = self._options.adaptive
            if rule is None or completer.out_of_budget or not self._raise_wants(rule):
                bar.note = self._note()
                bar.advance(0)  # the last batch was counted after it was shown
                return completer
            bar.resize(completer.completions + self.total())

    def _raise_wants(self, rule: Rule) -> bool:
        """Ask for more where the counts do not suffice yet; returns whether anything is missing."""
        tally = self._tally()
        wanted = rule.wanted(tally)
        more = wanted > tally.sampled
        self._plan.ledger.want(self._open[more], wanted[more] + self._own[more])  # the ledger's n counts own outcomes
        return self._plan.ledger.missing() > 0

    def expected_rmse(self) -> float | None:
        """What is left of the error of V_eta, where the rule is about it."""
        rule = self._options.adaptive
        return rule.expected_rmse(self._tally()) if isinstance(rule, Accurate) else None

    def found(self) -> Found | None:
        """What is known of first errors, where the rule is about them."""
        rule = self._options.adaptive
        return rule.found(self._tally()) if isinstance(rule, FirstErrors) else None

    def _tally(self) -> Tally:
        k, n = (column[self._open] for column in self._plan.ledger.counts())
        sampled = self._sampled()
        spent = self._plan.spent[self._open]
        overall = max(1.0, spent.sum() / max(1, sampled.sum()))  # counts as one completion more of each prefix
        return Tally(k, n, sampled, (spent + overall) / (sampled + 1.0), self._plan.ledger.depths()[self._open],
                     self._uses, self._parents, self._chains)

    def _sampled(self) -> Counts:
        """Trials of the open prefixes that were sampled there."""
        return self._plan.ledger.counts()[1][self._open] - self._own - self._plan.passed[self._open]

    def _note(self) -> str:
        full = self._options.adaptive.n_max if self._options.adaptive else self._options.n - self._own
        return f"{int((self._sampled() >= full).sum()):,} of {len(self._open):,} prefixes full, saved {self.saved()}"

    def saved(self) -> Saved:
        """Tokens that were not generated, by reason, estimated from the mean length of those that were."""
        totals = self._plan.ledger.totals()
        rule = self._options.adaptive
        full = self._options.n if rule is None else rule.n_max
        mean = self._plan.tokens / max(1, self._plan.ledger.done())
        finished = totals["solutions"] - self._plan.unfinished
        repeated = totals["steps"] - finished - len(self._open)
        stopped = int((full - self._sampled()).clip(min=0).sum()) if rule is not None else 0
        return Saved(dedupe=round(repeated * full * mean), finished=round(finished * full * mean),
                     early_stop=round(stopped * mean))


def labelled(rows: Sequence[StepRow], nodes: Sequence[npt.NDArray[np.int64]], plan: Plan) -> list[StepRow]:
    """The rows with their counts, or their rewards where these are not all 0 or 1, and how many completions were cut
    off, where any were."""
    k, n = plan.ledger.counts()
    result = []
    for row, places in zip(rows, nodes, strict=True):
        cut = plan.truncated[places].tolist()
        extra = {**row.extra, "truncated": cut} if any(cut) else row.extra
        rewards = [tuple(given) if any(reward not in (0.0, 1.0) for reward in given) else ()
                   for given in (plan.rewards.get(place, []) for place in places.tolist())]
        counted = np.array([not given for given in rewards], np.int64)
        result.append(dataclasses.replace(
            row, successes=tuple((k[places] * counted).tolist()), trials=tuple((n[places] * counted).tolist()),
            rewards=tuple(rewards) if any(rewards) else None, extra=extra))
    return result
