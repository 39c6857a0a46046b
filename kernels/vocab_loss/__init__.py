"""The step loss over the whole vocabulary."""
