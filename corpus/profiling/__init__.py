"""Profile a data set in bounded memory: counts, sketches, samples."""
