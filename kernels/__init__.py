"""The fused operations, installed and imported as `erprm.kernels`.

Under any other name this package is empty: Hugging Face has a package called `kernels`, and transformers, looking for it
from the root of this repository, must not load ours in its place.
"""
