"""Show word vectors: a map of words on a page."""
