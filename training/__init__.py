"""Make models: count and smooth n-grams, train networks, tune mixtures. A fitted model does not need this room."""
