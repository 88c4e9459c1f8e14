"""Tune the weights of models that combine others."""
