"""Read text with n-gram language models: tables of probabilities, and their look-up."""
