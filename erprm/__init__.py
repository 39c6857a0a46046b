"""erprm: entropy-regularised process reward models (ER-PRM, arXiv 2412.11006)."""

__version__ = "0.1.0"
