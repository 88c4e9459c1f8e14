"""Render the surprisal of sample reviews, token by token, as coloured text: the heat-map of the report.

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

from evaluation.reports.page import escape
from evaluation.scoring.metrics import LN2

EDGES = (1.0, 3.0, 6.0, 10.0)
"""Bits at which the next level begins."""
TINTS = ("#ffffff", "#fdf1d8", "#fcd9a0", "#f6b562", "#e98d3e")
LEGEND = ("below 1 bit (likelier than 1 in 2)", "1 to 3 bits", "3 to 6 bits", "6 to 10 bits",
          "10 bits and more (1 in 1,024 and rarer)")  # fmt: skip
END = "<eos>"
STYLE = (
    ".heat { line-height: 2.05; margin: .3rem 0 .9rem; overflow-wrap: anywhere; }\n"
    ".heat span, .scale span { print-color-adjust: exact; -webkit-print-color-adjust: exact; color: #1b1b1b; "
    "padding: 0 .12em; white-space: pre-wrap; border-bottom: 0 solid #8a3b00; }\n"
    ".scale span { padding: .1em .4em; margin-right: .5em; outline: 1px solid #ccc; display: inline-block; }\n"
    + "".join(
        f".s{level} {{ background: {tint}; border-bottom-width: {level}px !important; }}\n"
        for level, tint in enumerate(TINTS)
    )
)


@dataclass(frozen=True)
class Reading:
    """Nats of one model on the tokens of the sample reviews.

    Args:
        model: Name of the model.
        unit: Unit of its vocabulary; words are shown with spaces between them.
        tokens: Columns review_id, position, token, nats and rank.
    """

    model: str
    unit: str
    tokens: pl.DataFrame


def level_of(bits: float) -> int:
    """Return the level, 0 to 4, of a token that costs *bits* bits."""
    return sum(bits >= edge for edge in EDGES)


def choose_reviews(tokens: pl.DataFrame, number: int, fewest: int = 12, most: int = 60) -> list[str]:
    """Return the ids of *number* reviews to show, spread evenly over their surprisal per token.

    Args:
        tokens: Columns review_id and nats, of one model.
        number: Number of reviews.
        fewest: Reviews with fewer tokens show little.
        most: Reviews with more tokens are hard to read. Reviews outside these two limits are used only if too few
            reviews are within them.
    """
    reviews = tokens.group_by("review_id").agg(tokens=pl.len(), mean=pl.mean("nats")).sort("mean", "review_id")
    fitting = reviews.filter(pl.col("tokens").is_between(fewest, most))
    ids = (fitting if len(fitting) >= number else reviews)["review_id"].to_list()
    steps = [round((place + 0.5) * len(ids) / number - 0.5) for place in range(min(number, len(ids)))]
    return [ids[step] for step in steps] if len(ids) > number else ids


def heat_map(readings: Sequence[Reading], review_ids: Sequence[str], heads: Mapping[str, str] | None = None) -> str:
    """Return HTML: a legend, then each review with a heading and its text once per model.

    Args:
        readings: One per model, in the order in which they are shown.
        review_ids: Ids of the reviews; a model that has not read a review is left out for that review.
        heads: Headings by review id; a missing one becomes "Review" and its number.
    """
    parts = [legend()]
    for number, review_id in enumerate(review_ids, 1):
        parts.append(f"<h3>{escape((heads or {}).get(review_id, f'Review {number}'))}</h3>")
        for reading in readings:
            rows = reading.tokens.filter(pl.col("review_id") == review_id).sort("position").to_dicts()
            if rows:
                parts.append(_review(reading, rows))
    return "\n".join(parts)


def legend() -> str:
    """Return the HTML legend of the levels."""
    levels = "".join(f'<span class="s{level}">{escape(text)}</span>' for level, text in enumerate(LEGEND))
    return f'<p class="scale">{levels}</p>'


def _review(reading: Reading, rows: Sequence[Mapping[str, Any]]) -> str:
    bits = sum(row["nats"] for row in rows) / LN2
    each = f"{bits:,.0f} bits, {bits / len(rows):.2f} a token" if math.isfinite(bits) else "called impossible"
    between = " " if reading.unit == "word" else ""
    tokens = between.join(_token(row, reading.unit) for row in rows)
    return f'<p class="heat"><b>{escape(reading.model)}</b> <small>({each})</small><br>{tokens}</p>'


def _token(row: Mapping[str, Any], unit: str) -> str:
    text = escape(shown(row["token"], unit)).replace("↵", "↵<br>")
    bits = row["nats"] / LN2
    rank = "never suggested" if row["rank"] is None else f"rank {row['rank']:,}"
    said = f"p = {_probability(row['nats'])}, {rank}, {bits:.1f} bits"
    return f'<span class="s{level_of(bits)}" title="{escape(said)}">{text}</span>'


def shown(token: str, unit: str) -> str:
    """Return a token as it is displayed: symbols for invisible characters; words without the spaces around them."""
    if token == END:
        return "∎"
    text = token.strip(" ") or token if unit == "word" else token
    return text.replace("\n", "↵").replace("\t", "⇥")


def _probability(nats: float) -> str:
    share = math.exp(-nats)
    return f"{share:.1%}" if share >= 0.001 else f"{share:.1e}"
