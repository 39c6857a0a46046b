"""Every operation in plain PyTorch: the CPU path and, in float64, the tests' oracle."""
