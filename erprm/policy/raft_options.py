"""What an iteration of RAFT samples, keeps and measures: options without anything heavy to import."""

from __future__ import annotations

from dataclasses import dataclass

from erprm.options import check, option
from erprm.selection.aggregate import AGGREGATIONS

RANKINGS = {"prm": "the aggregated step scores", "correct": "right solutions, no reward model: the baseline",
           "both": "right solutions by their aggregated step scores"}


@dataclass(frozen=True)
class RAFTOptions:
    """What is sampled, kept and measured.

    Raises:
        InputError: for a value outside its range.
    """

    iterations: int = option(3, help="rounds of sampling and learning; raised later, a finished run goes on", least=1)
    n: int = option(16, help="solutions sampled for each problem and iteration", least=1)
    rank_by: str = option("prm", help="what ranks solutions", choices=RANKINGS)
    aggregate: str = option("min", help="step scores into one number", choices=AGGREGATIONS)
    keep: int = option(1, help="different solutions learnt of each problem, the best first; 0: all", least=0)
    minimum: float = option(0.0, help="leave out solutions whose aggregated score is less")
    decay: float = option(0.7, help="the learning rate's factor from one iteration to the next", above=0, most=1)
    heldout_n: int = option(4, help="solutions sampled for each held-out problem", least=1)

    def __post_init__(self) -> None:
        check(self)
