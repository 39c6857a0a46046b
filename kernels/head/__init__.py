"""What the losses on a few head rows share: the margins z = h . (w_h - w_0), the pass over the rows, the gradients."""
