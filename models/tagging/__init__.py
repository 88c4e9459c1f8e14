"""Restore case and punctuation: a tagger whose labels every written text has for free."""
