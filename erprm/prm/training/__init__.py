"""Training a PRM: configuration, data set, batches, order, layout, trainer, patch."""
