"""Read and write vector files of other programs: word2vec (text, binary), GloVe, fastText."""
