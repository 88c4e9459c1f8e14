"""Combine several language models into one: linear and log-linear mixtures, and their weights."""
