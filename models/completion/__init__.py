"""Complete texts: next words, completions of a word, beam search, Dasher's intervals of characters."""
