"""Word vectors: train them, read and write vector files, look up neighbours, fill an embedding layer."""
