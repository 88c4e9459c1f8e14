"""Commands about word vectors."""
