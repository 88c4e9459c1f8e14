"""What we expect of the tables between the stages, declared with Great Expectations.

    raw          what *ingest* wrote: columns and types, no missing text, known ids, plausible dates and lengths
    clean        what *prepare* wrote: three splits, no text in two of them, bytes counted
    tokens       a token stream: ids inside the vocabulary, lengths that add up, few unknown words
    predictions  scores: finite, at least one token and byte a review
    samples      what a model wrote: whole texts of sane length, of characters that people write

Each expectation carries its words (`description`, shown in the Data Docs and in errors) and its severity: "critical"
stops the run, "warning" is shown beside its result, "info" is only logged. The values of `text` are its lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from data_checks.engine import great_expectations
from data_checks.report import CRITICAL, INFO, WARNING
from models.text import CHARACTERS
from models.vocabulary import SPECIAL
from reviewlm.config import ChecksConfig
from reviewlm.errors import ReviewLMError

SPLITS = ("train", "validation", "test")
MAX_CHARACTERS = 100_000
MAX_NATS = 1e12
MAX_WRITTEN = 5_000
"""Characters that Yelp lets a review have."""
MOSTLY = 0.99
(INVISIBLE,) = (rule for rule in CHARACTERS if rule.name == "invisible")
INTEGERS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
FLOATS = ("Float32", "Float64")
TEXTS = ("String",)
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "raw": {
        "review_id": TEXTS, "user_id": TEXTS, "business_id": TEXTS, "stars": FLOATS, "useful": INTEGERS,
        "funny": INTEGERS, "cool": INTEGERS, "text": TEXTS, "date": ("Datetime",), "source": TEXTS, "line": INTEGERS,
    },
    "clean": {"review_id": TEXTS, "text": TEXTS, "stars": INTEGERS, "bytes": INTEGERS, "split": TEXTS},
    "tokens": {"review_id": TEXTS, "bytes": INTEGERS, "tokens": INTEGERS, "oov": INTEGERS},
    "predictions": {"review_id": TEXTS, "nats": FLOATS, "tokens": INTEGERS, "bytes": INTEGERS},
    "samples": {"stars": INTEGERS, "text": TEXTS},
}
"""Columns that a table must have, and the types (of polars, without their parameters) that will do."""


@dataclass(frozen=True)
class Case:
    """One table to be judged.

    Args:
        stage: Its suite.
        table: The columns of the suite that can be judged.
        usable: Their names.
        limits: Of the configuration.
        facts: What the stage said of its result.
    """

    stage: str
    table: pl.LazyFrame
    usable: frozenset[str]
    limits: ChecksConfig
    facts: dict[str, Any]

    def fact(self, name: str) -> Any:
        """Return a fact that must be there.

        Raises:
            ReviewLMError: It is not: a suite must not pass for want of numbers.
        """
        if name not in self.facts:
            remedy = "give the stream's folder instead of a table" if self.stage == "tokens" else ""
            what = f"The suite '{self.stage}' needs the fact '{name}'"
            raise ReviewLMError(what, value=list(self.facts), remedy=remedy)
        return self.facts[name]


def columns(stage: str) -> Any:
    """Expect of a table (column, type) that every column is there with a type that will do."""
    return _gx().ExpectColumnPairValuesToBeInSet(
        column_A="column", column_B="type", severity=CRITICAL,
        value_pairs_set=[(column, kind) for column, kinds in COLUMNS[stage].items() for kind in kinds],
        description=f"The table has the columns {', '.join(COLUMNS[stage])}, each of its type",
    )


def _raw_rows(case: Case) -> list[Any]:
    gx, known = _gx(), case.limits.min_stars_known
    longest = int(case.facts.get("max_chars", MAX_CHARACTERS))
    # Dates may be local times: tomorrow is still plausible.
    tomorrow = datetime.now(UTC).replace(tzinfo=None, microsecond=0) + timedelta(days=1)
    return [
        *_identified(case),
        gx.ExpectColumnValuesToNotBeNull(column="text", description="Every review has a text"),
        gx.ExpectColumnValuesToBeBetween(
            column="text", min_value=1, max_value=longest, mostly=MOSTLY, severity=WARNING,
            description=f"At least {MOSTLY:.0%} of the texts have 1 to {longest:,} characters"),
        gx.ExpectColumnValuesToBeInSet(
            column="stars", value_set=[1, 2, 3, 4, 5], mostly=known,
            description=f"At least {known:.1%} of the ratings are 1, 2, 3, 4 or 5 stars"),
        gx.ExpectColumnValuesToNotBeNull(
            column="stars", mostly=known, severity=WARNING,
            description=f"At least {known:.1%} of the reviews have a rating"),
        gx.ExpectColumnValuesToBeBetween(
            column="date", min_value=datetime.fromisoformat(case.limits.earliest), max_value=tomorrow, mostly=MOSTLY,
            severity=WARNING, description=f"At least {MOSTLY:.0%} of the dates are from {case.limits.earliest} to now"),
    ]


def _raw_whole(case: Case) -> tuple[pl.DataFrame, list[Any]]:
    gx, limit = _gx(), case.limits.max_quarantined
    rows, quarantined = case.fact("rows"), case.fact("quarantined")
    counted = case.table.select(pl.len()).collect().item()
    share = quarantined / max(1, rows + quarantined)
    return pl.DataFrame({"rows": [counted], "lost": [rows - counted], "quarantined": [share]}), [
        gx.ExpectColumnMinToBeBetween(column="rows", min_value=1, description="There is at least one review"),
        gx.ExpectColumnMaxToBeBetween(
            column="lost", min_value=0, max_value=0, description=f"All {rows:,} reviews read are in the table"),
        gx.ExpectColumnMaxToBeBetween(
            column="quarantined", max_value=limit,
            description=f"At most {limit:.1%} of the records are in quarantine (the value is the share)"),
    ]


def _clean_rows(case: Case) -> list[Any]:
    gx = _gx()
    return [
        *_identified(case),
        gx.ExpectColumnValuesToNotBeNull(column="text", description="Every review has a text"),
        gx.ExpectColumnValuesToBeBetween(column="text", min_value=1, description="No text is empty"),
        gx.ExpectColumnValuesToBeBetween(
            column="stars", min_value=0, max_value=5, description="Stars are 1 to 5, or 0 for unknown"),
        gx.ExpectColumnValuesToBeBetween(
            column="bytes", min_value=2, description="Every review has a byte of text and one for its end"),
        gx.ExpectColumnValuesToNotBeNull(column="split", description="Every review is in a split"),
        gx.ExpectColumnValuesToBeInSet(
            column="split", value_set=list(SPLITS), description=f"The splits are {', '.join(SPLITS)}"),
    ]


def _clean_whole(case: Case) -> tuple[pl.DataFrame, list[Any]]:
    gx = _gx()
    return _split_facts(case), [
        *(
            gx.ExpectColumnMinToBeBetween(
                column=split, min_value=0, strict_min=True,
                description=f"There are reviews in the {split} split (the value is its share)")
            for split in SPLITS
        ),
        gx.ExpectColumnMinToBeBetween(
            column="train", min_value=0.5, severity=WARNING,
            description="At least half of the reviews are there to train on (the value is their share)"),
        gx.ExpectColumnMaxToBeBetween(column="straddling", max_value=0, description="No text is in two splits"),
    ]


def _split_facts(case: Case) -> pl.DataFrame:
    """Return the share of each split and the number of texts in two of them; empty without those columns."""
    if not {"text", "split"} <= case.usable:
        return pl.DataFrame()
    split = pl.col("split")
    # By hash (64 bits), part by part: grouped by the texts themselves, all of them would be in memory at once.
    splits_of_text = case.table.group_by(pl.col("text").hash()).agg(split.n_unique().alias("splits"))
    shares = [(split == name).mean().fill_null(0.0).alias(name) for name in SPLITS]
    straddling = splits_of_text.filter(pl.col("splits") > 1).select(pl.len()).collect(engine="streaming").item()
    return case.table.select(shares).collect().with_columns(straddling=pl.lit(straddling))


def _tokens_rows(case: Case) -> list[Any]:
    gx, total = _gx(), case.fact("tokens")
    return [
        *_identified(case),
        gx.ExpectColumnValuesToBeBetween(
            column="tokens", min_value=1, description="Every review has at least one scored token"),
        gx.ExpectColumnSumToBeBetween(
            column="tokens", min_value=total, max_value=total,
            description=f"The lengths of the reviews add up to the stream's {total:,} tokens"),
        gx.ExpectColumnValuesToBeBetween(
            column="bytes", min_value=1, description="Every review has at least one byte"),
        gx.ExpectColumnValuesToBeBetween(
            column="oov", min_value=0, description="Counts of unknown words are not negative"),
    ]


def _tokens_whole(case: Case) -> tuple[pl.DataFrame, list[Any]]:
    gx, size, limit = _gx(), case.fact("vocabulary_size"), case.limits.max_unknown_tokens
    share = case.fact("unknown") / max(1, case.fact("tokens"))
    facts = {"largest_id": case.fact("largest_id"), "unknown": share, "disagreeing": case.fact("disagreeing")}
    return pl.DataFrame(facts), [
        gx.ExpectColumnMaxToBeBetween(
            column="disagreeing", max_value=0, description="Every review is as long as its row says"),
        gx.ExpectColumnMaxToBeBetween(
            column="largest_id", min_value=0, max_value=size - 1,
            description=f"Every id is below the vocabulary's size, {size:,} (the value is the largest id)"),
        gx.ExpectColumnMaxToBeBetween(
            column="unknown", max_value=limit,
            description=f"At most {limit:.1%} of the tokens are unknown words (the value is their share)"),
    ]


def _predictions_rows(case: Case) -> list[Any]:
    gx = _gx()
    return [
        *_identified(case),
        gx.ExpectColumnValuesToNotBeNull(column="nats", description="Every score is a number"),
        gx.ExpectColumnValuesToBeBetween(
            column="nats", min_value=0, max_value=MAX_NATS, description="Scores are finite and not negative (nats)"),
        gx.ExpectColumnValuesToBeBetween(
            column="tokens", min_value=1, description="Every review has at least one token"),
        gx.ExpectColumnValuesToBeBetween(
            column="bytes", min_value=1, description="Every review has at least one byte"),
    ]


def _predictions_whole(case: Case) -> tuple[pl.DataFrame, list[Any]]:
    if not {"nats", "tokens"} <= case.usable:
        return pl.DataFrame(), []
    # What is no number has its own expectation.
    mean = pl.col("nats").fill_nan(None).sum() / pl.col("tokens").sum()
    return case.table.select(nats_per_token=mean).collect(), [
        _gx().ExpectColumnMaxToBeBetween(
            column="nats_per_token", max_value=20, severity=INFO,
            description="A token costs at most 20 nats on average (the value is the mean)"),
    ]


def _samples_rows(case: Case) -> list[Any]:
    gx = _gx()
    return [
        gx.ExpectColumnValuesToNotBeNull(column="text", description="Every sample has a text"),
        gx.ExpectColumnValuesToBeBetween(
            column="stars", min_value=0, max_value=5, description="Samples have 1 to 5 stars, or 0 for unknown"),
        gx.ExpectColumnValuesToBeBetween(
            column="text", min_value=1, max_value=MAX_WRITTEN, severity=WARNING,
            description=f"Every sample has 1 to {MAX_WRITTEN:,} characters"),
    ]


def _samples_whole(case: Case) -> tuple[pl.DataFrame, list[Any]]:
    """Warnings only: a model of bytes may write a sign that nobody reads, or spell "<eos>", however seldom."""
    if "text" not in case.usable:
        return pl.DataFrame(), []
    gx, text = _gx(), pl.col("text")
    unreadable = text.str.contains(INVISIBLE.rust).sum().alias("unreadable")
    special = text.str.contains_any(list(SPECIAL)).sum().alias("special")
    return case.table.select(unreadable, special).collect(), [
        gx.ExpectColumnMaxToBeBetween(
            column="unreadable", max_value=0, severity=WARNING,
            description="No sample holds control or invisible characters (the value is how many do)"),
        gx.ExpectColumnMaxToBeBetween(
            column="special", max_value=0, severity=WARNING,
            description="No sample shows a special token (the value is how many do)"),
    ]


def _identified(case: Case) -> list[Any]:
    gx = _gx()
    return [
        gx.ExpectColumnValuesToNotBeNull(column="review_id", description="Every review has an id"),
        gx.ExpectColumnValuesToBeUnique(column="review_id", description="No two reviews have one id"),
    ]


def _gx() -> Any:
    """Great Expectations' classes; the severity of an expectation is critical unless it says otherwise."""
    return great_expectations().expectations


ROWS: dict[str, Callable[[Case], list[Any]]] = {
    "raw": _raw_rows, "clean": _clean_rows, "tokens": _tokens_rows, "predictions": _predictions_rows,
    "samples": _samples_rows,
}
"""Per stage what is expected of each row."""
WHOLE: dict[str, Callable[[Case], tuple[pl.DataFrame, list[Any]]]] = {
    "raw": _raw_whole, "clean": _clean_whole, "tokens": _tokens_whole, "predictions": _predictions_whole,
    "samples": _samples_whole,
}
"""Per stage a table of one row with facts of the whole, and what is expected of it."""
