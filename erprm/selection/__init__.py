"""From step scores to a choice: aggregation, best-of-N, voting, and search under a process reward model.

The searches (`erprm.selection.beam`, `erprm.selection.guided`) are imported from their own modules.
"""

from erprm.selection.aggregate import AGGREGATIONS, aggregate, aggregate_all
from erprm.selection.best_of_n import best_of_n_by_problem, best_of_n_curve, pass_at_n, pass_at_n_by_problem
from erprm.selection.voting import majority_by_problem, majority_choice, majority_curve

__all__ = ["AGGREGATIONS", "aggregate", "aggregate_all", "best_of_n_by_problem", "best_of_n_curve",
           "majority_by_problem", "majority_choice", "majority_curve", "pass_at_n", "pass_at_n_by_problem"]
