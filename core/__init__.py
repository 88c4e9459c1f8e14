"""Configuration, store, lineage, processes and errors: the foundation of every room but `models`."""
