"""Find out how a text may go on: next words, completions of a word, beam search, Dasher's intervals of characters."""
