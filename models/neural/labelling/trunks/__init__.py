"""Trunks: networks that turn a token sequence, or its features, into the features that a head reads."""
