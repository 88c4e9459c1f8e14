"""Declare the expectations on the tables between the stages with Great Expectations.

    raw          output of *ingest*: columns and types, no missing text, known ids, plausible dates and lengths
    clean        output of *prepare*: three splits, no text in two of them, bytes counted
    tokens       token stream: ids inside the vocabulary, lengths that add up, few unknown words
    predictions  scores: finite, at least one token and byte per review
    samples      generated texts: no missing text, plausible length, no control or invisible characters

Each expectation has a `description` (shown in the Data Docs and in errors) and a severity: "critical" stops the run,
"warning" is shown with its result, "info" is only logged. No report quotes a word of a review's text: for an unexpected
text it shows the length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from core.config.sections.data import ChecksConfig
from core.errors import ReviewLMError
from data_checks.gx import expect
from data_checks.metrics.metrics import Metric, straddling, total
from data_checks.metrics.tables import Table
from data_checks.metrics.texts import MOJIBAKE
from data_checks.report import INFO, WARNING
from models.text.normal_form import CHARACTERS
from models.tokens.special import SPECIAL

Extra = Mapping[str, Any]
"""Values of the extra metrics of a suite, by name."""
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
"""Columns that a table must have, by stage, with the accepted types (of polars, without parameters)."""
PRIVATE = ("text",)
"""Columns that no report may quote."""


@dataclass(frozen=True)
class Case:
    """One table to validate.

    Args:
        stage: Name of its suite.
        table: Table to validate.
        usable: Columns of the suite that are present with an accepted type, and the measures of their texts.
        limits: Limits from the configuration.
        facts: Numbers that the stage reported about its result.
    """

    stage: str
    table: Table
    usable: frozenset[str]
    limits: ChecksConfig
    facts: dict[str, Any]

    def fact(self, name: str) -> Any:
        """Return a required fact.

        Raises:
            ReviewLMError: The fact is missing. A suite must not pass because numbers are missing.
        """
        if name not in self.facts:
            remedy = "give the stream's folder instead of a table" if self.stage == "tokens" else ""
            what = f"The suite '{self.stage}' needs the fact '{name}'"
            raise ReviewLMError(what, value=list(self.facts), remedy=remedy)
        return self.facts[name]


def columns_expected(columns: Mapping[str, Sequence[str]]) -> Any:
    """Return the expectation that a table of (column, type) rows lists every column with an accepted type."""
    return expect().ExpectColumnPairValuesToBeInSet(
        column_A="column", column_B="type",
        value_pairs_set=[(column, kind) for column, kinds in columns.items() for kind in kinds],
        description=f"The table has the columns {', '.join(columns)}, each of its type",
    )


def identified() -> list[Any]:
    """Return the expectations on the ids of any table of reviews: present and unique."""
    gx = expect()
    return [
        gx.ExpectColumnValuesToNotBeNull(column="review_id", description="Every review has an id"),
        gx.ExpectColumnValuesToBeUnique(column="review_id", description="No two reviews have one id"),
    ]


SPLITS = ("train", "validation", "test")
MAX_CHARACTERS = 100_000
MOSTLY, MOSTLY_CLEAN = 0.99, 0.999
EARLIEST = datetime(2004, 1, 1)
"""Earliest date of a review: Yelp's first year."""
MIN_DIFFERENT = 0.9
MIN_ONE_LANGUAGE = 0.9
MAX_WORD_RUN, MAX_CHARACTER_RUN = 10, 50


def _raw_rows(case: Case) -> list[Any]:
    gx, share = expect(), case.limits.min_stars_known
    longest = int(case.facts.get("max_chars", MAX_CHARACTERS))
    # Dates may be local times: tomorrow is still plausible.
    tomorrow = datetime.now(UTC).replace(tzinfo=None, microsecond=0) + timedelta(days=1)
    return [
        *identified(),
        gx.ExpectColumnValuesToNotBeNull(column="text", description="Every review has a text"),
        gx.ExpectColumnValueLengthsToBeBetween(
            column="text", min_value=1, max_value=longest, mostly=MOSTLY, severity=WARNING,
            description=f"At least {MOSTLY:.0%} of the texts have 1 to {longest:,} characters"),
        gx.ExpectColumnValuesToNotMatchRegex(
            column="text", regex=INVISIBLE.pattern, mostly=MOSTLY, severity=INFO,
            description=f"At least {MOSTLY:.0%} of the texts are free of control and invisible characters"),
        *_texts(MOSTLY),
        gx.ExpectColumnProportionOfUniqueValuesToBeBetween(
            column="text", min_value=MIN_DIFFERENT, severity=WARNING,
            description=f"At least {MIN_DIFFERENT:.0%} of the texts are different (the value is their share)"),
        gx.ExpectColumnValuesToBeInSet(
            column="stars", value_set=[1, 2, 3, 4, 5], mostly=share,
            description=f"At least {share:.1%} of the ratings are 1, 2, 3, 4 or 5 stars"),
        gx.ExpectColumnValuesToNotBeNull(
            column="stars", mostly=share, severity=WARNING,
            description=f"At least {share:.1%} of the reviews have a rating"),
        gx.ExpectColumnValuesToBeBetween(
            column="date", min_value=EARLIEST, max_value=tomorrow, mostly=MOSTLY,
            severity=WARNING, description=f"At least {MOSTLY:.0%} of the dates are from {EARLIEST:%Y-%m-%d} to now"),
    ]


def _raw_whole(case: Case, extra: Extra) -> tuple[dict[str, Any], list[Any]]:
    del extra
    gx, limit = expect(), case.limits.max_quarantined
    rows, quarantined = case.fact("rows"), case.fact("quarantined")
    facts = {
        "rows": case.table.height, "lost": rows - case.table.height,
        "quarantined": quarantined / max(1, rows + quarantined),
    }
    return facts, [
        gx.ExpectColumnMinToBeBetween(column="rows", min_value=1, description="There is at least one review"),
        gx.ExpectColumnMaxToBeBetween(
            column="lost", min_value=0, max_value=0, description=f"All {rows:,} reviews read are in the table"),
        gx.ExpectColumnMaxToBeBetween(
            column="quarantined", max_value=limit,
            description=f"At most {limit:.1%} of the records are in quarantine"),
    ]


def _clean_rows(case: Case) -> list[Any]:
    gx = expect()
    return [
        *identified(),
        gx.ExpectColumnValuesToNotBeNull(column="text", description="Every review has a text"),
        gx.ExpectColumnValueLengthsToBeBetween(column="text", min_value=1, description="No text is empty"),
        gx.ExpectColumnValuesToNotMatchRegex(
            column="text", regex=INVISIBLE.pattern, description="No text holds control or invisible characters"),
        *_texts(MOSTLY_CLEAN),
        gx.ExpectColumnProportionOfUniqueValuesToBeBetween(
            column="text", min_value=MIN_DIFFERENT, severity=INFO,
            description=f"At least {MIN_DIFFERENT:.0%} of the texts are different (the value is their share)"),
        gx.ExpectColumnValuesToBeBetween(
            column="stars", min_value=0, max_value=5, description="Stars are 1 to 5, or 0 for unknown"),
        gx.ExpectColumnValuesToBeBetween(
            column="bytes", min_value=2, description="Every review has a byte of text and one for its end"),
        gx.ExpectColumnValuesToNotBeNull(column="split", description="Every review is in a split"),
        gx.ExpectColumnValuesToBeInSet(
            column="split", value_set=list(SPLITS), description=f"The splits are {', '.join(SPLITS)}"),
    ]


def _clean_extra(case: Case) -> dict[str, Metric]:
    del case
    in_split = {split: total(("split",), (pl.col("split") == split).sum()) for split in SPLITS}
    return {**in_split, "straddling": straddling("text", "split", SPLITS)}


def _clean_whole(case: Case, extra: Extra) -> tuple[dict[str, Any], list[Any]]:
    gx, rows = expect(), max(1, case.table.height)
    facts = {name: count / rows if name in SPLITS else count for name, count in extra.items()}
    return {**facts, **_language(case)}, [
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
        gx.ExpectColumnMinToBeBetween(
            column="one_language", min_value=MIN_ONE_LANGUAGE, severity=INFO,
            description=f"At least {MIN_ONE_LANGUAGE:.0%} of the texts whose language can be told are in one language "
                        "(the value is their share)"),
    ]


def _language(case: Case) -> dict[str, float]:
    """Return the share of the most common language, if the stage identified languages; "" means not identified."""
    languages = case.facts.get("languages") or {}
    counts = [count for language, count in languages.items() if language]
    return {"one_language": max(counts) / sum(counts)} if sum(counts) else {}


def _texts(mostly: float) -> list[Any]:
    """Return the expectations on defects that may be rare but not frequent: traces of a wrong encoding, repetition."""
    gx, share = expect(), f"At least {mostly * 100:.4g}%"
    return [
        gx.ExpectColumnValuesToNotMatchRegex(
            column="text", regex=MOJIBAKE, mostly=mostly, severity=WARNING,
            description=f"{share} of the texts show no trace of a wrong encoding (mojibake)"),
        gx.ExpectColumnValuesToBeBetween(
            column="word_run", max_value=MAX_WORD_RUN, mostly=mostly, severity=WARNING,
            description=f"{share} of the texts repeat no word more than {MAX_WORD_RUN} times in a row"),
        gx.ExpectColumnValuesToBeBetween(
            column="character_run", max_value=MAX_CHARACTER_RUN, mostly=mostly, severity=WARNING,
            description=f"{share} of the texts repeat no character more than {MAX_CHARACTER_RUN} times in a row"),
    ]


MAX_NATS = 1e12
MAX_WRITTEN = 5_000
"""Most characters that Yelp allows in a review."""
WRITTEN = 0.8
"""Share of the samples that must have a text of this length."""


def tokens_rows(case: Case) -> list[Any]:
    """Return the expectations on each review of a token stream."""
    gx, total = expect(), case.fact("tokens")
    return [
        *identified(),
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


def tokens_whole(case: Case, extra: Extra) -> tuple[dict[str, Any], list[Any]]:
    """Return facts and expectations for a whole token stream: ids below V, matching lengths, share of unknown words."""
    del extra
    gx, size, limit = expect(), case.fact("vocabulary_size"), case.limits.max_unknown_tokens
    share = case.fact("unknown") / max(1, case.fact("tokens"))
    facts = {"largest_id": case.fact("largest_id"), "unknown": share, "disagreeing": case.fact("disagreeing")}
    return facts, [
        gx.ExpectColumnMaxToBeBetween(
            column="disagreeing", max_value=0, description="Every review is as long as its row says"),
        gx.ExpectColumnMaxToBeBetween(
            column="largest_id", min_value=0, max_value=size - 1,
            description=f"Every id is below the vocabulary's size, {size:,} (the value is the largest id)"),
        gx.ExpectColumnMaxToBeBetween(
            column="unknown", max_value=limit,
            description=f"At most {limit:.1%} of the tokens are unknown words (the value is their share)"),
    ]


def predictions_rows(case: Case) -> list[Any]:
    """Return the expectations on each scored review."""
    del case
    gx = expect()
    return [
        *identified(),
        gx.ExpectColumnValuesToNotBeNull(column="nats", description="Every score is a number"),
        gx.ExpectColumnValuesToBeBetween(
            column="nats", min_value=0, description="Scores are not negative (nats)"),
        gx.ExpectColumnValuesToBeBetween(
            column="nats", max_value=MAX_NATS, severity=WARNING,
            description="No review has probability 0, infinitely many nats: the gate promotes no such model"),
        gx.ExpectColumnValuesToBeBetween(
            column="tokens", min_value=1, description="Every review has at least one token"),
        gx.ExpectColumnValuesToBeBetween(
            column="bytes", min_value=1, description="Every review has at least one byte"),
    ]


def predictions_extra(case: Case) -> dict[str, Metric]:
    """Return the metrics over the scored reviews: the sums of nats and tokens."""
    del case
    # NaN and infinite values are left out: they have their own expectations.
    numbers = {name: pl.col(name).cast(pl.Float64) for name in ("nats", "tokens")}
    return {name: total((name,), pl.when(one.is_finite()).then(one).sum()) for name, one in numbers.items()}


def predictions_whole(case: Case, extra: Extra) -> tuple[dict[str, Any], list[Any]]:
    """Return the fact and the expectation for all scores: the mean nats per token."""
    del case
    measured = {"nats", "tokens"} <= set(extra) and extra["tokens"]
    return {"nats_per_token": extra["nats"] / extra["tokens"]} if measured else {}, [
        expect().ExpectColumnMaxToBeBetween(
            column="nats_per_token", max_value=20, severity=INFO,
            description="A token costs at most 20 nats on average (the value is the mean)"),
    ]


def samples_rows(case: Case) -> list[Any]:
    """Return the expectations on each generated sample.

    Length, control or invisible characters and special tokens only give warnings: a model of bytes may write an
    invisible character, or spell "<eos>". A unigram model ends one text in fifty before the first word.
    """
    del case
    gx = expect()
    return [
        gx.ExpectColumnValuesToNotBeNull(column="text", description="Every sample has a text"),
        gx.ExpectColumnValuesToBeBetween(
            column="stars", min_value=0, max_value=5, description="Samples have 1 to 5 stars, or 0 for unknown"),
        gx.ExpectColumnValueLengthsToBeBetween(
            column="text", min_value=1, max_value=MAX_WRITTEN, mostly=WRITTEN, severity=WARNING,
            description=f"At least {WRITTEN:.0%} of the samples have 1 to {MAX_WRITTEN:,} characters"),
        gx.ExpectColumnValuesToNotMatchRegex(
            column="text", regex=INVISIBLE.pattern, severity=WARNING,
            description="No sample holds control or invisible characters"),
        gx.ExpectColumnValuesToNotMatchRegex(
            column="text", regex="|".join(re.escape(word) for word in SPECIAL), severity=WARNING,
            description="No sample shows a special token"),
    ]


ROWS: dict[str, Callable[[Case], list[Any]]] = {
    "raw": _raw_rows, "clean": _clean_rows, "tokens": tokens_rows, "predictions": predictions_rows,
    "samples": samples_rows,
}
"""Expectations on each row, by stage."""
EXTRA_METRICS: dict[str, Callable[[Case], dict[str, Metric]]] = {
    "clean": _clean_extra, "predictions": predictions_extra,
}
"""Metrics of the rows that the facts of the whole table are computed from, by stage."""
WHOLE: dict[str, Callable[[Case, Extra], tuple[dict[str, Any], list[Any]]]] = {
    "raw": _raw_whole, "clean": _clean_whole, "tokens": tokens_whole,
    "predictions": predictions_whole,
}
"""Facts of the whole table, computed from those metrics, and the expectations on them, by stage."""
