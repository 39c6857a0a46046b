"""Who attends to whom: spans of packed batches, paths through shared prefixes, the last block at the tags only."""
