"""What a process reward model is worth: curves, benchmarks, residuals, biases, and the report of all of them."""

from erprm.evaluation.bellman import BellmanResidual, Residual, bellman_residual

__all__ = ["BellmanResidual", "Residual", "bellman_residual"]
