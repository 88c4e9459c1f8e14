"""Measure the training of networks: speed beside word_language_model, quality, layers, GPUs."""
