"""Score texts and compute perplexity, bits per byte and calibration."""
