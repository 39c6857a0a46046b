"""Who says which step of a solution is wrong, and where two such sources agree."""
