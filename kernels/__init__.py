"""The fused operations, installed and imported as `erprm.kernels`.

    from erprm.kernels import counts_loss, log_mean_exp, step_loss, vocab_loss

CPU tensors run plain PyTorch, CUDA tensors Triton kernels; both are registered operations (`torch.ops.erprm.*`). What
they expect of values is checked on CPU tensors, and before data are sent to a GPU by `erprm.kernels.checks`.

Under any other name this package is empty: Hugging Face has a package called `kernels`, and transformers, looking for
it from the root of this repository, must not load ours in its place.
"""

if __name__ == "erprm.kernels":
    from erprm.kernels.counts_loss.op import counts_loss
    from erprm.kernels.log_mean_exp.op import log_mean_exp
    from erprm.kernels.step_loss.op import step_loss
    from erprm.kernels.vocab_loss.op import vocab_loss

    __all__ = ["counts_loss", "log_mean_exp", "step_loss", "vocab_loss"]
