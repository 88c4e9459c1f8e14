"""Compute how surprising a model finds each token of sample reviews, for the heat map of the report.

A token has one of five levels by its bits, −log2 of the probability that the model gave it. A level is shown by a tint
and by the thickness of the line below the token, so that it can be read without colours and on paper. The tooltip of a
token shows its probability and rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from evaluation.palette import EDGES
from evaluation.scoring.metrics import LN2
from models.tokens.special import UNK
from models.tokens.word_pieces import Writer

END = "<eos>"
LONGEST = 120
"""Tokens of a review that are shown; the rest of a longer one is left out."""


@dataclass(frozen=True)
class TokenSurprisals:
    """Nats of one model on the tokens of the sample reviews.

    Args:
        model: Name of the model.
        unit: Unit of its vocabulary; words are shown with the spaces of written text ("in-law", "$18").
        tokens: Columns review_id, position, token, nats and rank.
    """

    model: str
    unit: str
    tokens: pl.DataFrame


@dataclass(frozen=True)
class Token:
    """A token as lines of text, its level, its tooltip, and the space before it."""

    lines: Sequence[str]
    level: int
    said: str
    before: str = ""


@dataclass(frozen=True)
class Passage:
    """The tokens of a review as one model expected them, and what they cost it."""

    model: str
    cost: str
    tokens: Sequence[Token]


@dataclass(frozen=True)
class HeatMap:
    """The passages of each sample review; `evaluation/reports/templates/page.html` shows them below a legend."""

    reviews: Sequence[Sequence[Passage]]


def level_of(bits: float) -> int:
    """Return the level, 0 to 4, of a token that costs *bits* bits."""
    return sum(bits >= edge for edge in EDGES)


def choose_reviews(tokens: pl.DataFrame, number: int, fewest: int = 12, most: int = 60) -> list[str]:
    """Return the ids of *number* reviews to show, spread evenly over their surprisal per token.

    Args:
        tokens: Columns review_id and nats, of one model.
        fewest: Reviews with fewer tokens show little.
        most: Reviews with more tokens are hard to read. If too few reviews are within these two limits, those are taken
            that are closest to them.
    """
    reviews = tokens.group_by("review_id").agg(tokens=pl.len(), mean=pl.mean("nats")).sort("mean", "review_id")
    fitting = reviews.filter(pl.col("tokens").is_between(fewest, most))
    if len(fitting) < number:
        length = pl.col("tokens").cast(pl.Int64)
        outside = pl.max_horizontal(fewest - length, length - most, 0)
        fitting = reviews.sort(outside, maintain_order=True).head(number).sort("mean", "review_id")
    ids = fitting["review_id"].to_list()
    steps = [round((place + 0.5) * len(ids) / number - 0.5) for place in range(min(number, len(ids)))]
    return [ids[step] for step in steps] if len(ids) > number else ids


def heat_map(readings: Sequence[TokenSurprisals], review_ids: Sequence[str]) -> HeatMap:
    """Return each review once per model.

    Args:
        readings: One per model, in the order in which they are shown.
        review_ids: Ids of the reviews; a model that has not read a review is left out for that review.
    """
    reviews = []
    for review_id in review_ids:
        read = [
            (reading, reading.tokens.filter(pl.col("review_id") == review_id).sort("position")) for reading in readings
        ]
        reviews.append([_passage(reading, rows.to_dicts()) for reading, rows in read if len(rows)])
    return HeatMap(reviews)


def _passage(reading: TokenSurprisals, rows: Sequence[Mapping[str, Any]]) -> Passage:
    bits = sum(row["nats"] for row in rows) / LN2
    cost = f"{bits:,.0f} bits, {bits / len(rows):.2f} a token" if math.isfinite(bits) else "called impossible"
    writer = Writer({}, fold=False) if reading.unit == "word" else None
    if len(rows) > LONGEST:
        cost += f"; the first {LONGEST} of {len(rows):,} tokens"
    return Passage(reading.model, cost, [_token(row, reading.unit, writer) for row in rows[:LONGEST]])


def _token(row: Mapping[str, Any], unit: str, writer: Writer | None) -> Token:
    lines = shown(row["token"], unit).replace("↵", "↵\n").split("\n")
    bits = row["nats"] / LN2
    rank = "never suggested" if row["rank"] is None else f"rank {row['rank']:,}"
    description = f"p = {_probability(row['nats'])}, {rank}, {bits:.1f} bits"
    return Token(lines, level_of(bits), description, _space_before(row["token"], writer) if writer else "")


def _space_before(token: str, writer: Writer) -> str:
    """Return the space that written text has before a token of words: none in "in-law" and before a full stop."""
    piece = "word" if token in (END, UNK) else token
    return " " if piece and writer.write(piece).startswith(" ") and not piece.isspace() else ""


def shown(token: str, unit: str) -> str:
    """Return a token as it is displayed: symbols for invisible characters; words without the spaces around them."""
    if token == END:
        return "∎"
    text = token.strip(" ") or token if unit == "word" else token
    return text.replace("\n", "↵").replace("\t", "⇥")


def _probability(nats: float) -> str:
    share = math.exp(-nats)
    return f"{share:.1%}" if share >= 0.001 else f"{share:.1e}"
