"""The demo: the paper's experiment in miniature, on tasks of reasoning-gym, with models small enough for two cores."""
