"""Declare the expectations on the input and output of models: token streams, scores and samples."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from data_checks.gx import expect
from data_checks.metrics.metrics import Metric, total
from data_checks.report import INFO, WARNING
from data_checks.suites.case import INVISIBLE, Case, Extra, identified
from models.tokens.special import SPECIAL

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
    known = {"nats", "tokens"} <= set(extra) and extra["tokens"]
    return {"nats_per_token": extra["nats"] / extra["tokens"]} if known else {}, [
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
