"""The ledger's work in plain Python, written for speed: dictionaries, lists, and integers as sets of sample numbers.

What `bench/ledger.py` measures the C++ ledger against. It does the same for the calls a labelling run makes: the same
checks, prefixes interned once, ended solutions closed, samples in flight and done told apart, duplicates ignored,
running totals, work handed out depth-first; at the end both must hold the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


class PythonLedger:
    """Same names and results as `erprm._core.Ledger`, with lists for arrays. Not safe for threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str, bool], int] = {}
        self._roots: dict[str, int] = {}
        self._parents: list[int] = []
        self._children: list[list[int]] = []
        self._k: list[int] = []
        self._n: list[int] = []
        self._wants: list[int] = []
        self._taken: list[int] = []  # a bit per sample number
        self._finished: list[int] = []
        self._closed: list[bool] = []
        self._stack: list[int] = []  # nodes that `next` has yet to visit, last first
        self.missing = self.in_flight = self.done = self.ignored = 0

    def _insert(self, parent: int) -> int:
        node = len(self._parents)
        self._parents.append(parent)
        self._children.append([])
        self._k.append(0)
        self._n.append(0)
        self._wants.append(0)
        self._taken.append(0)
        self._finished.append(0)
        self._closed.append(False)
        if parent >= 0:
            self._children[parent].append(node)
        return node

    def add_problem(self, key: str) -> int:
        root = self._roots.get(key)
        if root is None:
            root = self._roots[key] = self._insert(-1)
        return root

    def add_problems(self, keys: Sequence[str]) -> list[int]:
        return [self.add_problem(key) for key in keys]

    def add_solution(self, root: int, steps: Sequence[str], outcome: int, finished: bool) -> list[int]:
        if outcome not in (-1, 0, 1):
            raise ValueError(f"outcome: expected 0, 1 or -1, found {outcome}")
        if not steps:
            raise ValueError("steps: expected at least one step, found none")
        if not (0 <= root < len(self._parents) and self._parents[root] == -1):
            raise ValueError(f"root: expected a node that add_problem returned, found {root}")
        known, path, node, last = self._known, [], root, len(steps) - 1
        for j, step in enumerate(steps):
            key = (node, step, finished and j == last)
            found = known.get(key)
            if found is None:
                found = known[key] = self._insert(node)
            node = found
            path.append(node)
        if finished:
            if self._closed[node] and self._n[node] and outcome >= 0 and self._k[node] != outcome:
                raise ValueError(f"outcome: prefix {node} was closed with another, found {outcome}")
            self._closed[node] = True
            if outcome >= 0:
                self._k[node], self._n[node] = outcome, 1
        return path

    def add_solutions(self, roots: Sequence[int], solutions: Sequence[Sequence[str]], outcomes: Sequence[int],
                      finished: bool) -> list[list[int]]:
        return [self.add_solution(root, steps, outcome, finished)
                for root, steps, outcome in zip(roots, solutions, outcomes, strict=True)]

    def want_all(self, n: int) -> None:
        if not 0 <= n <= 1 << 24:
            raise ValueError(f"n: expected 0 to {1 << 24}, found {n}")
        for node, parent in enumerate(self._parents):
            if parent >= 0 and not self._closed[node]:
                taken = self._taken[node].bit_count()
                self.missing += max(0, n - taken) - max(0, self._wants[node] - taken)
                self._wants[node] = n
        self._stack = list(reversed(self._roots.values()))

    def next(self, max_completions: int) -> tuple[list[int], list[int], list[int]]:
        """Runs of fresh sample numbers; nodes are visited once, as in a run that is not resumed."""
        if max_completions < 1:
            raise ValueError(f"max_completions: expected at least 1, found {max_completions}")
        nodes: list[int] = []
        firsts: list[int] = []
        counts: list[int] = []
        given, stack = 0, self._stack
        while stack:
            node = stack[-1]
            taken = self._taken[node]
            count = 0 if self._closed[node] else self._wants[node] - taken.bit_count()
            if count > 0:
                first = taken.bit_length()
                if given and given + count > max_completions:
                    break
                count = min(count, max_completions - given)
                nodes.append(node)
                firsts.append(first)
                counts.append(count)
                self._taken[node] = taken | ((1 << count) - 1) << first
                given += count
                if given == max_completions:
                    break
            stack.pop()
            stack.extend(reversed(self._children[node]))
        self.in_flight += given
        self.missing -= given
        return nodes, firsts, counts

    def record(self, nodes: Sequence[int], outcomes: Sequence[int], samples: Sequence[int]) -> int:
        if not len(nodes) == len(outcomes) == len(samples):
            raise ValueError("outcomes, samples: expected as many values as nodes")
        if not nodes:
            return 0
        if min(nodes) < 0 or max(nodes) >= len(self._parents):
            raise ValueError(f"nodes: expected a node below {len(self._parents)}")
        if min(outcomes) < 0 or max(outcomes) > 1:
            raise ValueError("outcomes: expected 0 or 1")
        if min(samples) < 0 or max(samples) >= 1 << 24:
            raise ValueError(f"samples: expected 0 to {(1 << 24) - 1}")
        taken, finished, closed, k, n = self._taken, self._finished, self._closed, self._k, self._n
        ignored = landed = 0
        for node, outcome, sample in zip(nodes, outcomes, samples, strict=True):
            bit = 1 << sample
            done = finished[node]
            if done & bit or closed[node]:
                ignored += 1
                continue
            finished[node] = done | bit
            if taken[node] & bit:
                landed += 1
            else:
                self.missing -= taken[node].bit_count() < self._wants[node]
                taken[node] |= bit
            k[node] += outcome
            n[node] += 1
        counted = len(nodes) - ignored
        self.in_flight -= landed
        self.done += counted
        self.ignored += ignored
        return counted

    def counts(self) -> tuple[list[int], list[int]]:
        return self._k, self._n

    def parents(self) -> list[int]:
        return self._parents

    def offsets(self) -> list[int]:
        return list(accumulate(self._n, initial=0))
