"""Published and own checkpoint forms, their heads and weights."""
