"""Segment log-mean-exp: rewards of completions into soft values."""
