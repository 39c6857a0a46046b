"""Soft-target cross-entropy at the step tags, for one or several etas."""
