"""Define the colours of models and the levels of surprisal: the same on pages, in figures and on the served page.

`serving/page/files/style.css` and `surprisal.js` have the accent, the levels and their tints too; a test compares them.
"""

PALETTE = ("#0b57d0", "#d55e00", "#009e73", "#ee88dd", "#661100", "#774477", "#220022", "#001166")
ON_DARK = ("#8ab4f8", "#ff9d5c", "#00ffcc", "#dd0066", "#bb5533", "#9933ff", "#eeff00", "#6666cc")
"""Colours on a light and on a dark page; the first one is the accent of pages, and the winner's.

Any two are at least 25 apart in CIELAB, as seen with full colour vision and by protanopes, deuteranopes and tritanopes
(Machado et al. 2009)."""
EDGES = (1, 3, 6, 10)
"""Bits at which the next level of surprisal begins: probabilities of 1 in 2, 8, 64 and 1,024."""
LEVELS = ("below 1 bit", "1 to 3 bits", "3 to 6 bits", "6 to 10 bits", "10 bits and more")
TINTS = ("#ffffff", "#fdf1d8", "#fcd9a0", "#f6b562", "#e98d3e")
TINTS_ON_DARK = ("#16181c", "#3a3016", "#5a4216", "#7a4e12", "#9a5410")
