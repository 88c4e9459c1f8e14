"""Find equal texts that have different ratings: the stars of one of them, at least, say nothing about its text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from reviewlm.corpus.duplicates.exact import STAYS, ExactDuplicates
from reviewlm.corpus.splitting.split import read_rows

TELLING = 8
"""Words of a text that two people hardly write: with other ratings it is odd, and "Great food!" is not."""
ODD_SHARE = 0.01
"""Share of the rated reviews from which on short texts are odd too."""
EXAMPLE_CANDIDATES = 100
"""Texts among which the longest is the example."""


@dataclass(frozen=True)
class OtherRatings:
    """Reviews whose text has another rating in another review.

    Args:
        texts: Number of such texts.
        reviews: Number of rated reviews with such a text, dropped ones included.
        rated: Number of all rated reviews.
        text: The longest of the first such texts.
        ratings: Its ratings, ascending.
        words: Its words.
    """

    texts: int = 0
    reviews: int = 0
    rated: int = 0
    text: str = ""
    ratings: tuple[int, ...] = ()
    words: int = 0

    @property
    def share(self) -> float:
        """Reviews with such a text as a share of the rated reviews."""
        return self.reviews / max(1, self.rated)

    @property
    def odd(self) -> bool:
        """Whether somebody should look at them: long texts are among them, or they are many."""
        return self.words >= TELLING or self.share > ODD_SHARE


def find_other_ratings(
    folder: Path,
    repeats: ExactDuplicates,
    stars: np.ndarray,
) -> OtherRatings:
    """Return the equal texts with other ratings.

    Args:
        folder: Holds clean.parquet, the table of the reviews that stay.
        repeats: The reviews with equal texts.
        stars: Rating (N,) of each review, 0 if it is unknown.
    """
    rated = stars > 0
    count = int(rated.sum())
    repeated = np.flatnonzero(repeats.first != np.arange(len(stars)))
    rows = np.union1d(repeated, repeats.first[repeated])
    rows = rows[rated[rows]]
    table = pl.DataFrame({"first": repeats.first[rows], "stars": stars[rows]})

    texts = table.group_by("first").agg(pl.len().alias("reviews"), pl.col("stars").unique().sort())
    texts = texts.filter(pl.col("stars").list.len() > 1).sort("first")
    if texts.is_empty():
        return OtherRatings(rated=count)

    found = OtherRatings(texts.height, int(texts["reviews"].sum()), count)
    staying = pl.Series(repeats.code[texts["first"].to_numpy()] == STAYS)
    return _with_longest(folder, repeats, texts.filter(staying).head(EXAMPLE_CANDIDATES), found)


def _with_longest(
    folder: Path,
    repeats: ExactDuplicates,
    texts: pl.DataFrame,
    found: OtherRatings,
) -> OtherRatings:
    """Add the longest of some texts that stay, with its ratings and words, if there is one."""
    if texts.is_empty():
        return found

    rows = (np.cumsum(repeats.code == STAYS) - 1)[texts["first"].to_numpy()]
    shown = read_rows(folder, rows, ["text", "words"])
    place = int(shown["words"].to_numpy().argmax())
    longest = shown.row(place, named=True)
    ratings = tuple(texts["stars"][place].to_list())
    return replace(
        found,
        text=longest["text"],
        words=longest["words"],
        ratings=ratings,
    )
