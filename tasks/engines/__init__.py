"""Run large work in parallel: in threads, or on the workers of a Dask cluster."""
