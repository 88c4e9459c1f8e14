"""Restore case and punctuation with a tagger; its labels come from any written text, without annotation."""
