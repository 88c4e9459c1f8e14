"""Turn text into log-probabilities: tokens, n-gram models, networks, mixtures. Imports none of the other rooms."""
