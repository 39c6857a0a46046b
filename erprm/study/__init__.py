"""The study: many small experiments in a table, policies, labels, targets and seeds apart."""
