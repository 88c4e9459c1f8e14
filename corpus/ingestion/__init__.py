"""Ingest raw files into one data set of typed Parquet parts."""
