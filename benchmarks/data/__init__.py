"""Measure the data stages: reading, checks, tokens, growth, odd reviews."""
