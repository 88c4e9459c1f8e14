"""Prune n-gram models by count, word list or relative entropy."""
