"""Recurrent layers over a whole window on the processor: forward, backward and compiled kernels."""
