"""Learn vocabularies: words, characters, BPE and Unigram pieces, from exact counts in bounded memory."""
