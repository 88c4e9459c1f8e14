"""Count n-grams and estimate their probabilities."""
