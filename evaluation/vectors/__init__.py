"""Judge word vectors: evidence, gate and rules, baselines, map of words."""
