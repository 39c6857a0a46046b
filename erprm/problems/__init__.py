"""Problems with checkable answers, and where they come from."""

from erprm.problems.problem import Problem, check_disjoint, distinct, problem_key
from erprm.problems.sources import SOURCES, load_problems, read_problems, write_problems

__all__ = ["SOURCES", "Problem", "check_disjoint", "distinct", "load_problems", "problem_key", "read_problems",
           "write_problems"]
