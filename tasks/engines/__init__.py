"""Do the parts of large work in threads, or on the workers of a Dask cluster."""
