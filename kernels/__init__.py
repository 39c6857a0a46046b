"""The fused operations, installed and imported as `erprm.kernels`.

    from erprm.kernels import log_mean_exp, step_loss, vocab_step_loss

CPU tensors run plain PyTorch, CUDA tensors Triton kernels; both are registered operations (`torch.ops.erprm.*`).

Under any other name this package is empty: Hugging Face has a package called `kernels`, and transformers, looking for
it from the root of this repository, must not load ours in its place.
"""

if __name__ == "erprm.kernels":
    from erprm.kernels.checks import (
        check_counts,
        check_offsets,
        check_outcomes,
        check_positions,
        check_targets,
        check_weights,
    )
    from erprm.kernels.losses import beta_binomial_step_loss, step_loss
    from erprm.kernels.pools import best_of_n, pool_best, segment_last, segment_mean, segment_min, segment_product
    from erprm.kernels.targets import log_mean_exp
    from erprm.kernels.vocabulary import vocab_step_loss

    __all__ = [
        "best_of_n",
        "beta_binomial_step_loss",
        "check_counts",
        "check_offsets",
        "check_outcomes",
        "check_positions",
        "check_targets",
        "check_weights",
        "log_mean_exp",
        "pool_best",
        "segment_last",
        "segment_mean",
        "segment_min",
        "segment_product",
        "step_loss",
        "vocab_step_loss",
    ]
