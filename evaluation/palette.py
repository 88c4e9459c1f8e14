"""Define the colours of models: the same on pages and in figures."""

PALETTE = ("#0b57d0", "#d55e00", "#009e73", "#ee88dd", "#661100", "#774477", "#220022", "#001166")
ON_DARK = ("#8ab4f8", "#ff9d5c", "#00ffcc", "#dd0066", "#bb5533", "#9933ff", "#eeff00", "#6666cc")
"""Colours on a light and on a dark page; the first one is the accent of pages, and the winner's.

Any two are at least 25 apart in CIELAB, as seen with full colour vision and by protanopes, deuteranopes and tritanopes
(Machado et al. 2009)."""
