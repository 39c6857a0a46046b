"""From step scores to a choice: aggregation, best-of-N, voting, and search under a process reward model.

The searches stand here as well: `beam_search`, `guided_decode`, `particle_search`.
"""

from erprm.selection.aggregate import AGGREGATIONS, aggregate, aggregate_all
from erprm.selection.beam import beam_search
from erprm.selection.best_of_n import best_of_n_by_problem, pass_at_n_by_problem
from erprm.selection.guided import guided_decode
from erprm.selection.particles import particle_search
from erprm.selection.voting import majority_by_problem, majority_choice

__all__ = ["AGGREGATIONS", "aggregate", "aggregate_all", "beam_search", "best_of_n_by_problem",
           "guided_decode", "majority_by_problem", "majority_choice", "particle_search", "pass_at_n_by_problem"]
