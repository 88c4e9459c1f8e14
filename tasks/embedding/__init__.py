"""The stage of word vectors, and the choice of stored ones."""
