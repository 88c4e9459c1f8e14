"""Define the colours of models, in figures and on pages."""

PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#A500FF", "#101010",
    "#3C0F3C", "#690000", "#B4B469", "#9678FF", "#3C0096", "#4B5A5A", "#875A2D", "#870F78",
)  # fmt: skip
"""The first six are those of Okabe and Ito (2008). The others were searched; none is the black of axes. Any two are at
least 16 apart in CIELAB, as seen with full colour vision and by protanopes, deuteranopes and tritanopes (Machado et al.
2009); `tests/evaluation/plots/test_report_figures.py` measures it."""
ON_DARK = (
    "#0069C3", "#D23C0F", "#B4FFC3", "#FF6996", "#FFF000", "#0FC3FF", "#965A87", "#F0FFFF",
    "#D278D2", "#A55A3C", "#87C300", "#A500F0", "#B469FF", "#787869", "#FFC369", "#D2B4D2",
)  # fmt: skip
"""The same colours for a dark page, of like hues; as far apart."""
