"""Counts into targets: the soft value V_eta of a prefix, its estimators and intervals, and every label kind.

k of n completions sampled from the reference policy succeeded; eta is the inverse temperature (ER-PRM's eta,
arXiv 2412.11006; papers on implicit PRMs write 1/eta as beta). For 0/1 outcomes with mean p

    V_eta = g_eta(p) = (1/eta) ln(1 - p + p e^eta)        eta -> 0: p,   +inf: 1[p > 0],   -inf: 1[p = 1]

    soft_value([0, 3, 16], [16, 16, 16], eta=2.0)                         # plug-in: g(k/n)
    soft_value([0, 3, 16], [16, 16, 16], eta=2.0, estimator="beta")       # posterior mean of g(p)
    low, high = interval([0, 3, 16], [16, 16, 16], eta=2.0, level=0.9)
    targets([0, 3, 16], [16, 16, 16], kind="hard")                        # 1[k >= 1]
    soft_rewards([0.2, 0.9, 1.0], [0, 3], eta=2.0)                        # of graded rewards, one value per step

docs/theory.md derives the formulas and gives the bias and error of each estimator.
"""

from erprm.values.counts import JEFFREYS, check_counts, distinct
from erprm.values.estimators import ESTIMATORS, beta_interval, interval, soft_value
from erprm.values.first_errors import ErrorPrior, first_error, first_errors, fit_error_prior, next_sample
from erprm.values.kinds import KINDS, counts_of, row_targets, step_targets
from erprm.values.priors import RATES, RatePrior, fit_prior, fit_rates
from erprm.values.rewards import soft_rewards
from erprm.values.scales import SCORES_ARE, soft_values
from erprm.values.soft import Array, mean_of_soft, soft_mean, soft_of_mean
from erprm.values.steps import Steps
from erprm.values.targets import targets, td_targets

__all__ = [
    "ESTIMATORS", "JEFFREYS", "KINDS", "RATES", "SCORES_ARE", "Array", "ErrorPrior", "RatePrior", "Steps",
    "beta_interval", "check_counts", "counts_of", "distinct", "first_error", "first_errors", "fit_error_prior",
    "fit_prior", "fit_rates", "interval", "mean_of_soft", "next_sample", "row_targets", "soft_mean", "soft_of_mean",
    "soft_rewards", "soft_value", "soft_values", "step_targets", "targets", "td_targets",
]
