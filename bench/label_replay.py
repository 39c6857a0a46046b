"""Labelling runs replayed from a pool of completions; what `bench/adaptive_labels.py` compares.

A `Pool` holds 512 graded completions of each prefix, and at which longer prefixes each of them passes. A replay draws
from the 512 with replacement, so that the values over all 512 are the truth that a run is to find, exactly; only what
passes comes from a shorter prefix's 512, which agree with that truth up to their own chance error.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import numpy.typing as npt

from erprm.engines import Sampling, load_engine
from erprm.grading import GraderPool
from erprm.problems import load_problems
from erprm.rollouts.accuracy import Accurate
from erprm.rollouts.allocation import Tally
from erprm.rollouts.run import LabelOptions, label
from erprm.rollouts.store import read_parts
from erprm.rows import read_rows
from erprm.steps import prefix_text, split_steps
from erprm.values import fit_rates, soft_of_mean

DRAWN = 512
SIZES = (4, 6, 8, 12, 16, 24, 32)
BASE = "fixed n, no dedupe, plug-in"
TARGETS = tuple(float(target) for target in np.geomspace(0.15, 0.03, 15))
Array = npt.NDArray[Any]


class Pool:
    """Graded completions of P prefixes, and the solutions that have them.

    right bool and tokens int [P, 512]; problem, depth [P]; parent [P], the prefix one step shorter or -1; solutions:
    (prefixes, outcome, number within its problem); passing: (prefix, longer one) -> which of the 512 pass, bool [512].
    """

    def __init__(self, given: argparse.Namespace) -> None:
        problems = load_problems(given.problems)
        rows = list(read_rows(given.solutions))
        engine = load_engine("transformers", given.policy)
        with GraderPool() as grader:
            print(label(problems, rows, engine, Sampling(max_tokens=given.max_tokens), given.pool, grader,
                        LabelOptions(n=DRAWN)))
        number = {problem.id: index for index, problem in enumerate(problems)}
        ended = {(row.problem_id, prefix_text(row.steps, len(row.steps), gaps=row.gaps))
                 for row in rows if row.finished}
        place: dict[tuple[str, str], int] = {}
        depths: list[int] = []
        shorter: list[tuple[str, str] | None] = []  # the prefix of one step less
        seen: dict[str, int] = {}
        self.solutions: list[tuple[list[int], int, int]] = []
        for row in rows:
            keys = [(row.problem_id, prefix_text(row.steps, length, gaps=row.gaps))
                    for length in range(1, len(row.steps) + 1)]
            keys = [key for key in keys if key not in ended]
            for length, key in enumerate(keys, start=1):
                if key not in place:
                    place[key] = len(place)
                    depths.append(length)
                    shorter.append(keys[length - 2] if length > 1 else None)
            seen[row.problem_id] = seen.get(row.problem_id, -1) + 1
            self.solutions.append(([place[key] for key in keys], int(row.outcome == 1), seen[row.problem_id]))
        self.problem = np.array([number[problem] for problem, _ in place])
        self.depth = np.array(depths, np.int32)
        self.parent = np.array([-1 if key is None else place[key] for key in shorter])
        self.passing: dict[tuple[int, int], Array] = {}
        self.right = np.zeros((len(place), DRAWN), bool)
        self.tokens = np.zeros((len(place), DRAWN), np.int64)
        for table in read_parts(given.pool, ["problem_id", "prefix", "sample", "text", "right", "tokens"]):
            for record in table.to_pylist():
                at, sample = place[record["problem_id"], record["prefix"]], record["sample"]
                self.right[at, sample], self.tokens[at, sample] = record["right"], record["tokens"]
                whole = split_steps(record["prefix"] + record["text"])
                for length in range(depths[at] + 1, len(whole)):
                    longer = place.get((record["problem_id"], prefix_text(whole, length)))
                    if longer is None:
                        break
                    self.passing.setdefault((at, longer), np.zeros(DRAWN, bool))[sample] = True


class Setting:
    """The prefixes that the first `each` solutions of each problem have, [P] each: `uses`, steps that need a prefix's
    value, and `own`, successes among the outcomes of its solutions."""

    def __init__(self, pool: Pool, each: int, eta: float) -> None:
        uses, own = np.zeros(len(pool.right), np.int64), np.zeros(len(pool.right), np.int64)
        for prefixes, outcome, number in pool.solutions:
            if number < each:
                uses[prefixes] += 1
                own[prefixes] += outcome
        kept = uses > 0
        self.uses, self.own = uses[kept], own[kept]
        self.problem, self.depth = pool.problem[kept], pool.depth[kept]
        self.right, self.tokens = pool.right[kept], pool.tokens[kept]
        new = np.append(np.where(kept, kept.cumsum() - 1, -1), -1)  # the last stands for no parent
        self.parent = new[pool.parent[kept]]
        pairs = [(new[at], new[longer], which) for (at, longer), which in pool.passing.items()
                 if kept[at] and kept[longer]]
        self.source, self.target = (np.array(column, np.int64) for column in list(zip(*pairs, strict=True))[:2])
        self.passes = np.stack([which for *_, which in pairs])
        self.eta, self.truth = eta, soft_of_mean(self.right.mean(1), eta)
        self.problems, self.steps = int(self.problem.max()) + 1, int(self.uses.sum())

    def errors(self, k: Array, n: Array, at: Array) -> dict[str, Array]:
        """Square errors of V_eta at prefixes `at` from counts, for each estimator."""
        depth = self.depth[at]
        return {"plug-in": (soft_of_mean(k / n, self.eta) - self.truth[at]) ** 2,
                "posterior mean": (fit_rates(k, n, depth).soft_value(k, n, depth, self.eta) - self.truth[at]) ** 2}

    def summed(self, at: Array, spent: Array, squares: Array) -> Array:
        """(tokens, square errors) of each problem, [problems, 2]."""
        owner = self.problem[at]
        return np.stack([np.bincount(owner, spent, self.problems), np.bincount(owner, squares, self.problems)], axis=1)

    def replay(self, seed: int) -> dict[str, Array]:
        """Per way to label: (tokens, square errors), [sizes or targets, problems, 2]."""
        chance = np.random.default_rng(seed)
        every, nobody = np.arange(len(self.truth)), (np.zeros_like(self.own), np.zeros_like(self.uses))
        result: dict[str, Array] = {}
        for way, at, passing in (("fixed n, no dedupe", np.repeat(every, self.uses), False),
                                 ("fixed n, dedupe", every, False), ("fixed n, passing", every, True)):
            drawn = Drawn(self, at, max(SIZES), chance, passing)
            weight = np.ones(len(at)) if way == "fixed n, no dedupe" else self.uses
            points: dict[str, list[Array]] = {}
            for n in SIZES:
                k, trials, spent = drawn.counts(np.full(len(at), n))
                for name, squares in self.errors(k, trials, at).items():
                    points.setdefault(f"{way}, {name}", []).append(self.summed(at, spent, weight * squares))
            result |= {name: np.stack(found) for name, found in points.items()}
        result[BASE] = self.base()
        for way, passing, (own, owners) in (("adaptive, sampled alone", False, nobody), ("adaptive", True, nobody),
                                            ("adaptive, own outcomes", True, (self.own, self.uses))):
            drawn = Drawn(self, every, Accurate().n_max, chance, passing)
            result |= self.adaptive(way, drawn, own, owners)
        return result

    def base(self) -> Array:
        """What BASE expects, exactly: all its counts are binomial."""
        from scipy.stats import binom

        points = []
        for n in SIZES:
            k = np.arange(n + 1)
            squares = (soft_of_mean(k / n, self.eta) - self.truth[:, None]) ** 2
            expected = (binom.pmf(k, n, self.right.mean(1)[:, None]) * squares).sum(1)
            points.append(self.summed(np.arange(len(self.truth)), n * self.uses * self.tokens.mean(1),
                                      self.uses * expected))
        return np.stack(points)

    def adaptive(self, way: str, drawn: Drawn, own: Array, owners: Array) -> dict[str, Array]:
        """The rule, followed to the smallest target; what it had when it reached each target."""
        every = np.arange(len(self.truth))
        rule = Accurate(eta=self.eta, rmse=TARGETS[-1])
        n = np.zeros(len(every), np.int32)
        points: dict[str, list[Array]] = {}
        reached = 0
        while reached < len(TARGETS):
            k, trials, used = drawn.counts(n)
            k, trials = (k + own).astype(np.int32), (trials + owners).astype(np.int32)
            cost = (used + max(1.0, used.sum() / max(1, n.sum()))) / (n + 1.0)
            tally = Tally(k, trials, n, cost, self.depth, self.uses, self.parent)
            wanted, expected = rule.wanted(tally), rule.expected_rmse(tally)
            ended = bool((wanted == n).all())
            while reached < len(TARGETS) and (ended or expected <= TARGETS[reached]):
                reached += 1
                for name, squares in self.errors(k, trials, every).items():
                    points.setdefault(f"{way}, {name}", []).append(self.summed(every, used, self.uses * squares))
            n = wanted
        return {name: np.stack(found) for name, found in points.items()}


class Drawn:
    """Up to `most` draws at each of the prefixes `at` [A] of a setting, and where those pass if that is to count."""

    def __init__(self, setting: Setting, at: Array, most: int, chance: np.random.Generator, passing: bool) -> None:
        which = chance.integers(0, DRAWN, (len(at), most))
        right = setting.right[at[:, None], which]
        self._right, self._tokens = sums(right), sums(setting.tokens[at[:, None], which])
        self._source = setting.source if passing else setting.source[:0]
        self._target = setting.target[: len(self._source)]
        hits = np.take_along_axis(setting.passes[: len(self._source)], which[self._source], 1)
        self._hits, self._right_hits = sums(hits), sums(hits & right[self._source])

    def counts(self, n: Array) -> tuple[Array, Array, Array]:
        """(successes, trials, tokens) [A] of the first n draws of each."""
        every, pair, first = np.arange(len(n)), np.arange(len(self._source)), n[self._source]
        k, trials = (np.bincount(self._target, found[pair, first], len(n)).astype(np.int64)
                     for found in (self._right_hits, self._hits))
        return k + self._right[every, n], trials + n, self._tokens[every, n]


def sums(drawn: Array) -> Array:
    """Running sums along rows, [A, most + 1], from 0."""
    return np.concatenate([np.zeros((len(drawn), 1), np.int64), drawn.cumsum(1)], 1)
