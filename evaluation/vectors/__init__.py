"""Give texts vectors, and measure how often the nearest text is of the same topic."""
