"""Beta-binomial likelihood of the counts at the step tags."""
