"""The ledger's rules in plain Python: what the C++ ledger is tested against, and timed against."""

from __future__ import annotations

from collections.abc import Sequence


class Model:
    """One problem's worth of rules, for any number of problems; same names and numbers as `erprm._core.Ledger`."""

    def __init__(self) -> None:
        self.known: dict[tuple[object, ...], int] = {}
        self.parent: list[int] = []
        self.k: list[int] = []
        self.n: list[int] = []
        self.wants: list[int] = []
        self.own: list[int] = []
        self.taken: list[set[int]] = []
        self.finished: list[set[int]] = []
        self.closed: list[bool] = []

    def _node(self, key: tuple[object, ...], parent: int) -> int:
        node = self.known.get(key)
        if node is None:
            node = self.known[key] = len(self.parent)
            self.parent.append(parent)
            for counts in (self.k, self.n, self.wants, self.own):
                counts.append(0)
            self.taken.append(set())
            self.finished.append(set())
            self.closed.append(False)
        return node

    def add_problem(self, key: str) -> int:
        return self._node((key,), -1)

    def add_solution(self, root: int, steps: Sequence[str], outcome: int, finished: bool,
                     count_outcome: bool = False) -> list[int]:
        path, node = [], root
        for j, step in enumerate(steps):
            node = self._node((node, step, finished and j == len(steps) - 1), node)
            path.append(node)
        if finished:
            self.closed[node] = True
            if outcome >= 0:
                self.k[node], self.n[node] = outcome, 1
        if count_outcome and outcome >= 0:
            for node in [root, *path[: len(path) - finished]]:
                self.own[node] += 1
                self.k[node] += outcome
                self.n[node] += 1
        return path

    def count_passing(self, root: int, steps: Sequence[str], length: int, outcome: int) -> list[int]:
        passed, node = [], root
        for j, step in enumerate(steps[:-1], start=1):
            found = self.known.get((node, step, False))
            if found is None:
                break
            node = found
            if j > length and not self.closed[node]:
                self.k[node] += outcome
                self.n[node] += 1
                passed.append(node)
        return passed

    def want(self, node: int, n: int) -> None:
        self.wants[node] = n

    def missing(self, node: int) -> list[int]:
        """The sample numbers of a node that would be handed out."""
        count = 0 if self.closed[node] else max(0, self.wants[node] - self.own[node] - len(self.taken[node]))
        free = (i for i in range(count + len(self.taken[node])) if i not in self.taken[node])
        return [sample for sample, _ in zip(free, range(count), strict=False)]

    def record(self, node: int, outcome: int, sample: int) -> int:
        if self.closed[node] or sample in self.finished[node]:
            return 0
        self.taken[node].add(sample)
        self.finished[node].add(sample)
        self.k[node] += outcome
        self.n[node] += 1
        return 1

    def release(self, node: int, first: int, count: int) -> int:
        freed = (self.taken[node] - self.finished[node]) & set(range(first, first + count))
        self.taken[node] -= freed
        return len(freed)
