"""Measure how much earlier text a language model uses: gradients, truncated contexts, carried states, probes."""
