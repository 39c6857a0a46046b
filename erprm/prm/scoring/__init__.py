"""Solutions to step scores: scorer, batches, cost model, files, vLLM."""
