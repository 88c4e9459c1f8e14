"""Read and write ARPA files."""
