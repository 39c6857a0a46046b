"""Completion bookkeeping, packing and prefix trees in C++ (csrc/).

Shapes: N tokens, M step tags, S rows or segments. Wrong types raise TypeError, wrong values ValueError with the
argument's name, what was expected and what came; then nothing was changed. Lists are taken wherever arrays are;
arrays of the dtype named here are read in place, others are converted. The GIL is released while C++ works.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

class Ledger:
    """Which prefixes exist, how many completions each wants, which are in flight, which are done and how they went.

        ledger = Ledger()
        root = ledger.add_problem("gsm8k/train/17")
        nodes = ledger.add_solution(root, ["3*4=12", "2+12=14"], outcome=1, finished=True)
        ledger.want_all(16)
        batch_nodes, first_samples, counts = ledger.next(256)       # sample, grade, then
        ledger.record(np.repeat(batch_nodes, counts), outcomes)     # one outcome per completion
        k, n = ledger.counts()

    A node is a prefix: a problem's root (no steps yet) or the first j steps of a solution. Equal prefixes of a problem
    are one node. Where a solution *ends*, it has a node of its own, even if another solution goes on from the same
    text: an ended solution's value is its outcome, known without sampling, and that node is closed.

    Every completion of a node has a sample number 0, 1, 2, ...; `next` hands out the lowest that are neither done nor
    in flight. After a restart, `record` with the sample numbers found on disk restores the state; whatever holes an
    interrupted run left are handed out again under the same numbers.

    Safe to use from several threads. Memory: about 95 to 125 bytes per node, nothing per completion up to 64 samples
    a node and two bits each beyond. At most 2**31 nodes and 2**24 samples of a node.
    """

    def __init__(self) -> None: ...
    def __len__(self) -> int:
        """Nodes, roots included; they are numbered 0 .. len - 1 in the order in which they were first seen."""

    def add_problem(self, key: str) -> int:
        """The root of the problem with this key, new or known."""

    def add_problems(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """`add_problem` for many: int64 [keys]."""

    def add_solution(
        self, root: int, steps: Sequence[str], outcome: int, finished: bool, count_outcome: bool = False
    ) -> npt.NDArray[np.int64]:
        """Intern the prefixes of a solution.

        Args:
            outcome: 0, 1, or -1 when the solution was not graded.
            finished: the solution ended by itself; its last node is closed (k = outcome, n = 1; n = 0 without outcome).
            count_outcome: count the outcome, if known, as one more sample of every open prefix, the root included:
                right when the solution was drawn from the policy that completes. It needs no sample number and lowers
                what the prefix still misses. Adding the same solution twice counts it twice.

        Returns:
            int64 [L]: node j is the prefix of the first j + 1 steps.

        Raises:
            ValueError: for an empty solution, a root that is none, or an outcome that contradicts the one with which
                the same finished solution was added before.
        """

    def add_solutions(
        self,
        roots: npt.ArrayLike,
        solutions: Sequence[Sequence[str]],
        outcomes: npt.ArrayLike,
        finished: npt.ArrayLike,
        count_outcome: bool = False,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """`add_solution` for many, several times as fast: solution s of the problem roots[s].

        Args:
            roots: int64 [S].
            solutions: the steps of each.
            outcomes: int32 [S], or one number for all.
            finished: bool [S], or one for all.

        Returns:
            (nodes int64 [steps of all], offsets int64 [S + 1]): solution s has nodes[offsets[s] : offsets[s + 1]].

        Raises:
            ValueError: as `add_solution`; when an outcome contradicts, the solutions before that one stay added.
        """

    def want(self, nodes: npt.ArrayLike, n: npt.ArrayLike) -> None:
        """Set how many outcomes nodes shall have in all; `n` is one number or one per node.

        Lowering it stops a node: nothing more is handed out, what is in flight may still be recorded. Closed nodes
        take the number and are never handed out.
        """

    def want_all(self, n: int, roots: bool = False) -> None:
        """`want` for every node there is now; for roots (the bare question) only when asked."""

    def next(
        self, max_completions: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Hand out what is missing, in depth-first order, so that the extensions of a prefix follow it.

        Returns:
            (nodes int64, first_sample int32, count int32), one entry per run of consecutive sample numbers, marked as
            in flight. A run is not split to fill the batch, so that there may be fewer than `max_completions`; only a
            run that is longer than that by itself is split. Empty when nothing is missing.
        """

    def record(self, nodes: npt.ArrayLike, outcomes: npt.ArrayLike, samples: npt.ArrayLike | None = None) -> int:
        """Count completions, one per entry, in any order.

        Args:
            nodes: int64 [R].
            outcomes: uint8 or bool [R], 0 or 1.
            samples: int32 [R], the sample numbers; they need not have been handed out by this ledger. Without them,
                each entry stands for the lowest sample of its node that is in flight.

        Returns:
            How many were counted. The others are ignored, and counted in `totals()["ignored"]`: the sample was done
            before, none was in flight, or the node is closed.
        """

    def release(self, nodes: npt.ArrayLike, first_samples: npt.ArrayLike, counts: npt.ArrayLike) -> int:
        """Give back runs that `next` handed out and that will not come: `ledger.release(*batch)`.

        Returns how many samples are missing again; those done meanwhile stay done.
        """

    def close(self, node: int, outcome: int) -> None:
        """Say that a prefix is a finished solution (outcome 0 or 1, -1 when not known): it is never sampled again.

        Raises:
            ValueError: if the node has trials, or is closed with another outcome.
        """

    def count_passing(
        self, roots: npt.ArrayLike, solutions: Sequence[Sequence[str]], lengths: npt.ArrayLike, outcomes: npt.ArrayLike
    ) -> npt.NDArray[np.int64]:
        """Count completions once more at the prefixes that they pass through.

        A completion of one prefix that goes on through a longer one is a completion of that one too. Here it takes no
        sample number, and changes nothing of what is wanted or missing: it is a trial beyond those.

        Args:
            roots: int64 [R], the problem of each.
            solutions: the steps of each as a whole, those of the prefix it was sampled from included.
            lengths: int32 [R], how many of the steps are that prefix.
            outcomes: uint8 or bool [R], 0 or 1.

        Returns:
            int64, the nodes at which one was counted, text after text: open prefixes of more than lengths[r] steps and
            fewer than all.

        Raises:
            ValueError: for a root that is none, or lengths beyond a text's steps.
        """

    def recorded(self, nodes: npt.ArrayLike, samples: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether each sample (int32 [R]) of a node (int64 [R]) is done, bool [R]."""

    def counts(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """(k, n) int32 [nodes]: successes and trials, a closed node's own outcome included.

        The arrays are read-only snapshots of this moment, made without copying: they never change, and the ledger
        copies its column once if it has to write while a snapshot is alive. Drop them before recording on to save it.
        """

    def parents(self) -> npt.NDArray[np.int64]:
        """int64 [nodes], -1 for roots; a snapshot like `counts`. A parent's number is lower than its children's."""

    def depths(self) -> npt.NDArray[np.int32]:
        """int32 [nodes]: steps in the prefix, 0 for roots; a snapshot like `counts`."""

    def offsets(self) -> npt.NDArray[np.int64]:
        """int64 [nodes + 1]: sums of n, the segment offsets of outcomes listed node by node."""

    def closed(self) -> npt.NDArray[np.bool_]:
        """bool [nodes]: never sampled, because the solution ended there."""

    def done_samples(self, node: int) -> npt.NDArray[np.int32]:
        """The sample numbers of a node that are done, ascending."""

    def done(self) -> int:
        """Completions recorded."""

    def in_flight(self) -> int:
        """Completions handed out, neither recorded nor released."""

    def missing(self) -> int:
        """Completions that `next` would still hand out."""

    def wanted(self) -> int:
        """done + in_flight + missing: how many there will be at the end if nothing else changes."""

    def bytes(self) -> int:
        """Memory held by the ledger, in bytes; walks over nodes with more than 64 samples."""

    def totals(self) -> dict[str, int]:
        """problems, solutions, steps (of all solutions, before merging), nodes, closed, own (outcomes of solutions
        counted as samples), passing (counted by `count_passing`), missing, in_flight, done, ignored: all at one
        moment."""

class _PrefixTree(TypedDict):
    input_ids: npt.NDArray[np.int64]
    position_ids: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    parents: npt.NDArray[np.int64]
    token_of: npt.NDArray[np.int64]
    segment_starts: npt.NDArray[np.int64]
    segment_parents: npt.NDArray[np.int64]

def scan_tags(ids: npt.ArrayLike, tag_id: int) -> npt.NDArray[np.int64]:
    """Positions int64 [M] of `tag_id` in ids [N], ascending. int64 and int32 arrays are read in place."""

def segment_offsets(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """int64 [S + 1]: 0 and the running sums of lengths [S]."""

def first_fit_decreasing(lengths: npt.ArrayLike, capacity: int) -> tuple[npt.NDArray[np.int32], int]:
    """Rows into bins of `capacity` tokens: longest first, each into the first bin with room, in O(S log S).

    Returns:
        (bin of each row int32 [S], number of bins): at most 11/9 of the least number of bins, plus one.

    Raises:
        ValueError: for a row that no bin can hold.
    """

def pack_rows(
    ids: npt.ArrayLike, row_offsets: npt.ArrayLike, tags: npt.ArrayLike, tag_offsets: npt.ArrayLike, rows: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Chosen rows of a flat dataset as one padding-free batch.

    Args:
        ids: int64 [all tokens], row r from row_offsets[r] to row_offsets[r + 1].
        row_offsets: int64 [rows of the dataset + 1].
        tags: int64 [all tags], counted from the beginning of their row; row r from tag_offsets[r] to tag_offsets[r+1].
        tag_offsets: int64 [rows of the dataset + 1].
        rows: int64 [S], the rows to pack, in this order.

    Returns:
        (input_ids int64 [N], position_ids int64 [N], cu_seqlens int32 [S + 1], tag_positions int64 [M] in input_ids).
    """

def majority(
    answers: Sequence[str | None] | npt.NDArray[np.integer],
    offsets: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The answer with most votes in each of S groups of candidates.

    Args:
        answers: normalised answers, compared as texts, None for no answer; or an array of codes, negative for none.
        offsets: int64 [S + 1], group s from offsets[s] to offsets[s + 1].
        weights: float64 [candidates], a vote's weight; one each without it.

    Returns:
        (index of the winner's first candidate int64 [S], its votes float64 [S]); -1 and 0 for a group without answers.
        Of equal answers the one that was given first wins.
    """

def prefix_tree(flat_ids: npt.ArrayLike, row_offsets: npt.ArrayLike) -> _PrefixTree:
    """The token rows of one problem as a tree, so that what rows share is computed once.

    Tokens stand in depth-first order, rows by their ids in lexicographic order. Token i may see token j exactly when
    `j <= i < ends[j]`, because a token's subtree is the contiguous span from itself to its end; a FlexAttention mask is
    `(kv <= q) & (q < ends[kv])`. Trees set side by side with their ends moved along do not see each other.

    Args:
        flat_ids: int64 [N], row r from row_offsets[r] to row_offsets[r + 1].
        row_offsets: int64 [S + 1].

    Returns:
        input_ids, position_ids, ends, parents: int64 [K], the distinct tokens; a position is the one in the separate
        row, a parent is the token before or -1.
        token_of: int64 [N], where each token of each row stands: row r's tag at p is token_of[row_offsets[r] + p].
        segment_starts: int64 [G + 1], the tokens at which an unbranched run begins, then K.
        segment_parents: int64 [G], -1 for a segment that begins rows.
    """
