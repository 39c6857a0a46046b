"""Triton kernels and their launchers. Only imported for CUDA tensors (or by tests, in Triton's interpreter)."""
