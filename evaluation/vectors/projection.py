"""Draw a map of words on a page: their vectors projected onto two dimensions by principal component analysis.

Two dimensions hold a small share of the differences between vectors; the page says how much. Words that are near in all
dimensions are near on the map, but not the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from evaluation.plots.canvas import PALE, SMALL, WIDTH, canvas, literal, styles_of
from evaluation.plots.svg import WORDS, svg_of, title_of
from evaluation.reports.document import Page, PageSection, PageTable, Picture, png
from models.vectors.word_vectors import WordVectors

SHOWN, NAMED, NEIGHBOURS = 400, 60, 5
"""Words on the map, words with their name on it, and neighbours of each in the table."""
FEWEST_LETTERS = 3
FUNCTION_WORDS = 100
"""Number of the most frequent words that a map leaves out; most of them are function words."""
STYLE = "words"


@dataclass(frozen=True)
class WordMap:
    """A projection of words.

    Attributes:
        words: The words.
        places_N2: Where each is.
        shares: Share of the variance of the vectors along each of the two axes.
    """

    words: tuple[str, ...]
    places_N2: np.ndarray
    shares: tuple[float, float]


def word_map(vectors: WordVectors, most: int = SHOWN) -> WordMap:
    """Return the projection of the first words that have only letters, at least three.

    Where there are enough of them, the very first ones are left out: "the", "and", "was".
    The words of `embed` are in the order of their frequency, and so are those of most published files. Lengths are made
    equal first, since the cosine does not depend on them. Each axis points so that its largest coordinate is positive.
    """
    rows = [row for row, word in enumerate(vectors.words) if word.isalpha() and len(word) >= FEWEST_LETTERS]
    first = FUNCTION_WORDS if len(rows) > most + FUNCTION_WORDS else 0
    rows = rows[first : first + most]
    unit_ND = vectors.unit_ND[rows].astype(np.float64)
    centred_ND = unit_ND - unit_ND.mean(0) if rows else unit_ND
    _, spread_K, axes_KD = np.linalg.svd(centred_ND, full_matrices=False)
    places_N2 = np.zeros((len(rows), 2))
    found_NK = centred_ND @ axes_KD[:2].T
    places_N2[:, : found_NK.shape[1]] = found_NK
    for axis_N in places_N2.T:
        if len(axis_N) and axis_N[np.abs(axis_N).argmax()] < 0:
            axis_N *= -1
    shares_K = spread_K**2 / (float((spread_K**2).sum()) or 1.0)
    shares = (float(shares_K[:1].sum()), float(shares_K[1:2].sum()))
    return WordMap(tuple(vectors.words[row] for row in rows), places_N2, shares)


def map_figure(found: WordMap) -> Figure:
    """Draw a map: a dot for each word, the first ones with their names; on a page a dot tells its word."""
    figure, axes = canvas(WIDTH, 7.5)
    color = styles_of([STYLE])[STYLE]["color"]
    points = axes.scatter(*found.places_N2.T, s=14, color=color)
    setattr(points, WORDS, found.words)
    for word, place in list(zip(found.words, found.places_N2, strict=True))[:NAMED]:
        casing = [withStroke(linewidth=2, foreground="white")]
        axes.annotate(literal(word), place, (3, 3), textcoords="offset points", fontsize=SMALL, path_effects=casing)
    axes.grid(True, axis="both", color=PALE, linewidth=0.8)
    axes.set_xlabel(f"first principal component ({found.shares[0]:.0%} of the variance)")
    axes.set_ylabel(f"second principal component ({found.shares[1]:.0%} of the variance)")
    axes.set_title("Words by their vectors: near words are used alike")
    return figure


def map_page(vectors: WordVectors, title: str, most: int = SHOWN) -> Page:
    """Return the page of a map, with the nearest words of each word on it."""
    found = word_map(vectors, most)
    figure = map_figure(found)
    alt = f"Dots: {len(found.words)} words projected onto two dimensions"
    heading = title_of(figure)
    picture = Picture(
        png(figure), alt, "Point at a dot to see its word. Projection: principal component analysis of unit vectors.",
        svg_of(figure, "map", styles_of([STYLE]), alt), heading.get_text() if heading else "",
    )  # fmt: skip
    rows = [
        {"word": word, "nearest": ", ".join(near.word for near in vectors.neighbours(word, NEIGHBOURS))}
        for word in found.words
    ]
    tiles = ((f"{len(vectors):,}", "words"), (f"{vectors.dimensions}", "dimensions"),
             (f"{sum(found.shares):.0%}", "of the variance on the map"))  # fmt: skip
    table = PageTable.of(rows, "By cosine in all dimensions")
    sections = [PageSection("Map", [picture], "map"), PageSection("Nearest words", [table], "nearest")]
    return Page(title, "A word's vector is learnt from the words around it.", tiles, sections, look="report")
