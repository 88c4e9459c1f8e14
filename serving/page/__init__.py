"""Show a page to try the model: static files, no framework, nothing from the network."""
