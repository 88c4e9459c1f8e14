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

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from data_checks.gx import expect
from data_checks.metrics.metrics import Metric, total
from data_checks.metrics.repeated import straddling
from data_checks.metrics.texts import MOJIBAKE
from data_checks.report import INFO, WARNING
from data_checks.suites import expectations_of_models as of_models
from data_checks.suites.case import INVISIBLE, Case, Extra, identified

SPLITS = ("train", "validation", "test")
MAX_CHARACTERS = 100_000
MOSTLY, MOSTLY_CLEAN = 0.99, 0.999
MIN_DIFFERENT = 0.9
MIN_ONE_LANGUAGE = 0.9
MAX_WORD_RUN, MAX_CHARACTER_RUN = 10, 50


def _raw_rows(case: Case) -> list[Any]:
    gx, known = expect(), case.limits.min_stars_known
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
            column="stars", value_set=[1, 2, 3, 4, 5], mostly=known,
            description=f"At least {known:.1%} of the ratings are 1, 2, 3, 4 or 5 stars"),
        gx.ExpectColumnValuesToNotBeNull(
            column="stars", mostly=known, severity=WARNING,
            description=f"At least {known:.1%} of the reviews have a rating"),
        gx.ExpectColumnValuesToBeBetween(
            column="date", min_value=datetime.fromisoformat(case.limits.earliest), max_value=tomorrow, mostly=MOSTLY,
            severity=WARNING, description=f"At least {MOSTLY:.0%} of the dates are from {case.limits.earliest} to now"),
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
    told = [count for language, count in languages.items() if language]
    return {"one_language": max(told) / sum(told)} if sum(told) else {}


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


ROWS: dict[str, Callable[[Case], list[Any]]] = {
    "raw": _raw_rows, "clean": _clean_rows, "tokens": of_models.tokens_rows, "predictions": of_models.predictions_rows,
    "samples": of_models.samples_rows,
}
"""Expectations on each row, by stage."""
EXTRA_METRICS: dict[str, Callable[[Case], dict[str, Metric]]] = {
    "clean": _clean_extra, "predictions": of_models.predictions_extra,
}
"""Metrics of the rows that the facts of the whole table are computed from, by stage."""
WHOLE: dict[str, Callable[[Case, Extra], tuple[dict[str, Any], list[Any]]]] = {
    "raw": _raw_whole, "clean": _clean_whole, "tokens": of_models.tokens_whole,
    "predictions": of_models.predictions_whole,
}
"""Facts of the whole table, computed from those metrics, and the expectations on them, by stage."""
