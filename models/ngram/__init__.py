"""Estimate n-gram language models: count, smooth, prune, look up, and exchange ARPA files."""
