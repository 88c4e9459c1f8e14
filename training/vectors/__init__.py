"""Fit, read and write word vectors with gensim, and give them to the embedding of a network."""
