"""Count n-grams in bounded memory."""
