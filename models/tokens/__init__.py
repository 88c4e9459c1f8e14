"""Vocabularies and tokenizers: words, characters, BPE and unigram pieces."""
