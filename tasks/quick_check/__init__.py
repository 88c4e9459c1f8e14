"""Try every stage of the pipeline on a few reviews, for `reviewlm check`."""
