"""Which prefix needs how many more completions: solutions interned in the ledger, with ids, prompts and seeds.

    plan = Plan(settings, splitter="newline", seed=0)
    plan.add_solutions([problems[row.problem_id] for row in rows], rows, places)     # places name rows in errors
    plan.ready()
    plan.ledger.want_all(16)
    batch = plan.next_batch(2048)          # prefixes in depth-first order, as requests to an engine
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from erprm._core import Ledger
from erprm.engines.base import Request, prefix_seed
from erprm.errors import InputError
from erprm.problems import Problem
from erprm.rollouts.prefixes import Prefixes
from erprm.rollouts.settings import prefix_id, settings_hash
from erprm.rows import StepRow
from erprm.steps import split_steps


@dataclass(frozen=True)
class Batch:
    """What one call of the engine does: `requests[i]` continues node `nodes[i]` with samples from `firsts[i]` on."""

    nodes: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    requests: list[Request]
    problems: list[Problem]
    ids: list[str]

    @property
    def completions(self) -> int:
        return int(self.counts.sum())


class Plan:
    """The prefixes of a run. A node is a prefix; node numbers are the ledger's."""

    def __init__(self, settings: Mapping[str, str], splitter: str, seed: int, count_passing: bool = False,
                 graded: bool = False) -> None:
        self.ledger = Ledger()
        self.counts_passing, self.graded = count_passing, graded
        self._digest = settings_hash(settings)
        self._splitter, self._seed = splitter, seed
        self._problems: list[Problem] = []  # per node
        self._prefixes: list[tuple[Prefixes, int]] = []  # per node: a solution's, and how many steps this one has
        self._roots: dict[str, int] = {}
        self._ids: list[str] = []  # per node; empty where nothing is sampled
        self._node_of: dict[str, int] = {}
        self.open = np.zeros(0, bool)  # per node: whether it may be sampled
        self.truncated = np.zeros(0, np.int64)  # per node: completions that were cut off
        self.spent = np.zeros(0, np.int64)  # per node: tokens generated so far, earlier runs included
        self.own = np.zeros(0, np.int32)  # per node: trials that are solutions' own outcomes, not completions
        self.passed = np.zeros(0, np.int32)  # per node: trials that are completions of shorter prefixes
        self._leads_on = np.zeros(0, bool)  # per node: whether a longer prefix of it may be sampled
        self.rewards: dict[int, list[float]] = {}  # per node: of its own completions, where rewards are graded
        self.unfinished = 0  # solutions that did not end by themselves

    @property
    def tokens(self) -> int:
        """Generated for these prefixes so far, earlier runs included."""
        return int(self.spent.sum())

    def add_problem(self, problem: Problem) -> int:
        """The node of the bare question."""
        if problem.id not in self._roots:
            self._roots[problem.id] = self.ledger.add_problem(problem.id)
            self._problems.append(problem)
            self._prefixes.append((Prefixes.of((), None, self._splitter, ended=False), 0))
        return self._roots[problem.id]

    def add_solutions(self, problems: Sequence[Problem], rows: Sequence[StepRow], places: Sequence[str],
                      count_own_outcome: bool = False) -> list[npt.NDArray[np.int64]]:
        """The nodes [L] of the prefixes of each row, a solution to the problem beside it.

        Raises:
            InputError: naming the row's place.
        """
        outcomes = np.array([self._outcome(row, where) for row, where in zip(rows, places, strict=True)], np.int32)
        finished = np.array([row.finished for row in rows], bool)
        roots = np.array([self.add_problem(problem) for problem in problems], np.int64)
        prefixes = [Prefixes.of(row.steps, row.gaps, self._splitter, row.finished) for row in rows]
        try:
            nodes, offsets = self.ledger.add_solutions(roots, [found.keys for found in prefixes], outcomes, finished,
                                                       count_own_outcome)
        except ValueError:
            self._refuse(roots, rows, prefixes, places)
            raise
        self.unfinished += int((~finished).sum())
        highest = np.maximum.accumulate(np.concatenate([[len(self._prefixes) - 1], nodes]))
        fresh = np.flatnonzero(np.diff(highest))  # where a node is seen first: nodes are numbered in this order
        owners = np.searchsorted(offsets, fresh, side="right") - 1
        for owner, length in zip(owners.tolist(), (fresh - offsets[owners] + 1).tolist(), strict=True):
            self._problems.append(problems[owner])
            self._prefixes.append((prefixes[owner], length))
        return [nodes[begin:end] for begin, end in itertools.pairwise(offsets.tolist())]

    def _refuse(self, roots: npt.NDArray[np.int64], rows: Sequence[StepRow], prefixes: Sequence[Prefixes],
                places: Sequence[str]) -> None:
        """Raise the InputError of the first row that the ledger refuses."""
        for root, row, found, where in zip(roots.tolist(), rows, prefixes, places, strict=True):
            try:
                self.ledger.add_solution(root, found.keys, self._outcome(row, where), row.finished)
            except ValueError as error:
                raise InputError(f"{where}: {error}") from error

    def _outcome(self, row: StepRow, where: str) -> int:
        """A row's outcome as the ledger takes it: 0, 1, or -1 when it is not known, or no count."""
        if row.outcome not in (None, -1, 0, 1):
            if self.graded:
                return -1
            raise InputError(f"{where}: outcome: expected 0 or 1 to count successes, found {row.outcome}")
        return -1 if row.outcome is None else int(row.outcome)

    def ready(self, roots: bool = False) -> None:
        """Give ids to the prefixes that may be sampled: those that no solution ended at; bare questions if asked."""
        depths = self.ledger.depths()
        sampled = ~self.ledger.closed() & ((depths > 0) | roots)
        self._ids = [""] * len(self._prefixes)
        for node in np.flatnonzero(sampled).tolist():
            prefixes, length = self._prefixes[node]
            found = prefix_id(self._digest, self._problems[node], prefixes.keys[:length])
            self._ids[node] = found
            self._node_of[found] = node
        self.truncated = np.zeros(len(self._prefixes), np.int64)
        self.spent = np.zeros(len(self._prefixes), np.int64)
        self.own = self.ledger.counts()[1]
        self.passed = np.zeros(len(self._prefixes), np.int32)
        self._leads_on = np.zeros(len(self._prefixes), bool)
        self._leads_on[self.ledger.parents()[sampled & (depths > 0)]] = True
        self.open = sampled  # bool [nodes]

    def restore(self, tables: Iterable[pa.Table]) -> int:
        """Count the completions of earlier runs; returns how many belong to this run's prefixes.

        Args:
            tables: from `RolloutStore.completed`, with texts where passing completions are counted.
        """
        restored = 0
        for table in tables:
            found = np.array([self._node_of.get(text, -1) for text in table["prefix_id"].to_pylist()], np.int64)
            known = found >= 0
            cut = np.array([reason == "length" for reason in table["finish_reason"].to_pylist()], bool)
            restored += self.record(found[known], table["sample"].to_numpy()[known],
                                    table["right"].to_numpy(zero_copy_only=False)[known], cut[known],
                                    table["tokens"].to_numpy()[known],
                                    table["text"].filter(pa.array(known)).to_pylist() if self.counts_passing else (),
                                    table["reward"].to_numpy()[known])
        return restored

    def record(self, nodes: npt.NDArray[np.int64], samples: npt.NDArray[np.int32], right: npt.NDArray[np.bool_],
               cut: npt.NDArray[np.bool_], tokens: npt.NDArray[np.integer[Any]], texts: Sequence[str],
               rewards: npt.NDArray[np.float64]) -> int:
        """Count completions [R] with the tokens of each, and where they pass by their texts, if these are to count.

        Args:
            rewards: [R] in [0, 1], kept where they are graded.

        Returns:
            How many were new.
        """
        np.add.at(self.spent, nodes, tokens)  # a sample that was drawn twice was paid for twice
        fresh = ~self.ledger.recorded(nodes, samples)
        np.add.at(self.truncated, nodes[cut & fresh], 1)
        if self.graded:
            for node, reward in zip(nodes[fresh].tolist(), rewards[fresh].tolist(), strict=True):
                self.rewards.setdefault(node, []).append(reward)
        if self.counts_passing:
            self._count_passing(nodes, np.flatnonzero(fresh & self._leads_on[nodes]), right, texts)
        return self.ledger.record(nodes, right.astype(np.uint8), samples)

    def _count_passing(self, nodes: npt.NDArray[np.int64], which: npt.NDArray[np.int64],
                       right: npt.NDArray[np.bool_], texts: Sequence[str]) -> None:
        """Count the completions `which` at the longer prefixes that they pass through."""
        kept, solutions, lengths = [], [], []
        for index, node in zip(which.tolist(), nodes[which].tolist(), strict=True):
            if texts[index].strip():
                prefixes, length = self._prefixes[node]
                written = split_steps(texts[index], self._splitter)
                kept.append(index)
                solutions.append([*prefixes.keys[:length],
                                  *Prefixes.of(written, written.gaps, self._splitter, ended=True).keys])
                lengths.append(length)
        roots = [self._roots[self._problems[node].id] for node in nodes[kept].tolist()]
        np.add.at(self.passed, self.ledger.count_passing(roots, solutions, lengths, right[kept]), 1)

    def next_batch(self, most: int) -> Batch | None:
        """Up to `most` missing completions as requests, extensions after their prefixes; None when none is missing."""
        nodes, firsts, counts = self.ledger.next(most)
        if not len(nodes):
            return None
        requests = []
        for node, first, count in zip(nodes.tolist(), firsts.tolist(), counts.tolist(), strict=True):
            question = self._problems[node].question
            prefixes, length = self._prefixes[node]
            prefix = prefixes.text(length)
            requests.append(Request(question, prefix, count, prefix_seed(self._seed, question, prefix) + first))
        return Batch(nodes, firsts, counts, requests, [self._problems[node] for node in nodes.tolist()],
                     [self._ids[node] for node in nodes.tolist()])

    def id_of(self, node: int) -> str:
        """The content-addressed id of a node that may be sampled."""
        return self._ids[node]


def find_problem(row: StepRow, by_id: Mapping[str, Problem], by_question: Mapping[str, Problem], where: str) -> Problem:
    """The problem that a solution is to: by its id, or else by its prompt. Raises InputError naming `where`."""
    problem = by_id.get(row.problem_id) or by_question.get(row.prompt)
    if problem is None:
        raise InputError(f"{where}: expected a solution to one of the problems, found problem_id {row.problem_id!r} "
                         f"and prompt {row.prompt[:40]!r}")
    return problem


def expand(batch: Batch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """(node, sample number) of every completion of a batch, [R] each."""
    samples = itertools.chain.from_iterable(range(first, first + count) for first, count in
                                            zip(batch.firsts.tolist(), batch.counts.tolist(), strict=True))
    return np.repeat(batch.nodes, batch.counts), np.fromiter(samples, np.int32, batch.completions)
