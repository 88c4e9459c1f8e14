"""Code the case of a piece (lower, Title, UPPER, …) as a shape, to restore its written form after case folding.

Unchanged, with a first capital, in capitals, in its usual form, letter by letter, or, if no upper case leads back to
the written letter ("ǅ", "ẞ"), byte by byte. One of them restores any written form, unless the piece has no case.
"""

from __future__ import annotations

import unicodedata

import polars as pl

LOWER, CAPITAL, CAPITALS, USUAL, OTHER, SPELT, CASELESS = range(7)
"""Shapes of a piece. The last one has no choice; as a usual shape it is `UNKNOWN`: no usual shape is known."""
SHAPES, UNKNOWN = 6, CASELESS


def shape_of(written: str, folded: str, usual: str) -> tuple[int, int]:
    """Return the shape of a piece, and the number of letters (`OTHER`) or bytes and end (`SPELT`) to code one by one.

    −1: the piece cannot be restored. It has no case, so nothing is coded, but the written form is another.
    """
    if folded == folded.upper():
        return CASELESS, 0 if folded == written else -1
    capital, capitals = _composed(folded[:1].upper() + folded[1:]), _composed(folded.upper())
    for shape, form in {LOWER: folded, CAPITAL: capital, CAPITALS: capitals, USUAL: usual}.items():
        if form == written:
            return shape, 0
    letters = written.replace("İ", "I\u0307")  # the only letter that becomes two when it is folded
    alike = len(letters) == len(folded) and all(b in (a, a.upper()) for a, b in zip(folded, letters, strict=True))
    if alike and _composed(letters) == written:
        return OTHER, sum(letter.upper() != letter for letter in folded)
    return SPELT, len(written.encode()) + 1


def _composed(text: str) -> str:
    """Return the text with composed letters, as the normal form has them: so "i" and U+0307 lead back to "İ"."""
    return unicodedata.normalize("NFC", text)


def usual_case(forms: pl.DataFrame, words: pl.DataFrame) -> dict[str, str]:
    """Return folded word → most frequent form within sentences, for *words* that are not usually in lower case."""
    usual = (
        forms.filter(pl.col("middle") > 0)
        .join(words, on="word", how="semi")
        .with_columns(pl.col("surface", "word").str.strip_chars(" "))
        .group_by("word", "surface").agg(pl.col("middle").sum())
        # In a tie, the lower-case form wins: it sorts last, and the order is descending.
        .sort(["word", "middle", "surface"], descending=[False, True, True])
        .unique("word", keep="first", maintain_order=True)
        .filter(pl.col("surface") != pl.col("word"))
    )
    return dict(zip(usual["word"].to_list(), usual["surface"].to_list(), strict=True))
