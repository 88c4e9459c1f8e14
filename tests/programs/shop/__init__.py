"""A package with kernels that call each other across its files."""
