"""The lineage of a registered version: record, check, compare and show the chain from raw files to weights."""
