"""The registered operations `torch.ops.erprm.*`: CPU and CUDA implementations, fake tensors and gradients."""
