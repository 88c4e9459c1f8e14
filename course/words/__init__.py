"""Count words: exact and smoothed n-grams, laws of frequency, clusters of words, word vectors."""
