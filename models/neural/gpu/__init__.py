"""Train on a GPU: kernels of our own in Triton, and windows that are replayed as CUDA graphs."""
