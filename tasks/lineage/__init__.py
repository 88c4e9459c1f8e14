"""Gather the lineage record of a version, and reproduce a version from it."""
