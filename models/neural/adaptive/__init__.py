"""Models that adapt to the text they read: dynamic evaluation, continuous cache."""
