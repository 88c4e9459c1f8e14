"""Declare what is expected of the tables between the stages.

    raw          output of *ingest*: columns and types, no missing text, known ids, plausible dates and lengths
    clean        output of *prepare*: three splits, bytes counted; that no text is in two, the leak certificate says
    tokens       token stream: ids inside the vocabulary, lengths that add up, few unknown words
    predictions  scores: finite, at least one token and byte per review
    samples      generated texts: no missing text, plausible length, no control or invisible characters

Each check has a `description` (shown on the page and in errors) and a severity: "critical" stops the run, "warning" is
shown with its result, "info" is only logged. No report quotes a word of a review's text: for an unexpected text it
shows the length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reviewlm.core.config.sections.data import ChecksConfig
from reviewlm.data_checks.checks import Check
from reviewlm.data_checks.report import INFO, WARNING, Severity
from reviewlm.data_checks.text_runs import MOJIBAKE
from reviewlm.models.text.normal_form import CHARACTERS
from reviewlm.models.tokens.special import SPECIAL

Facts = Mapping[str, Any]
(_INVISIBLE,) = (rule for rule in CHARACTERS if rule.name == "invisible")
INVISIBLE = _INVISIBLE.rust
"""Pattern of control and invisible characters."""
INTEGERS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")
FLOATS = ("Float32", "Float64")
TEXTS = ("String",)
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "raw": {
        "review_id": TEXTS,
        "user_id": TEXTS,
        "business_id": TEXTS,
        "stars": FLOATS,
        "text": TEXTS,
        "date": ("Datetime",),
        "source": TEXTS,
        "line": INTEGERS,
    },
    "clean": {
        "review_id": TEXTS,
        "text": TEXTS,
        "stars": INTEGERS,
        "bytes": INTEGERS,
        "split": TEXTS,
    },
    "tokens": {
        "review_id": TEXTS,
        "bytes": INTEGERS,
        "tokens": INTEGERS,
        "oov": INTEGERS,
    },
    "predictions": {
        "review_id": TEXTS,
        "nats": FLOATS,
        "tokens": INTEGERS,
        "bytes": INTEGERS,
    },
    "samples": {"stars": INTEGERS, "text": TEXTS},
}
"""Columns that a table must have, by stage, with the accepted types (of polars, without parameters)."""
PRIVATE = ("text",)
"""Columns that no report may quote."""
SPLITS = ("train", "validation", "test")
MAX_CHARACTERS = 100_000
MOSTLY = 0.99
MOSTLY_CLEAN = 0.999
EARLIEST = "2004-01-01"
"""Earliest date of a review: Yelp's first year."""
MIN_DIFFERENT = 0.9
MIN_WANTED = 0.9
MAX_WORD_RUN = 10
MAX_CHARACTER_RUN = 50
MAX_NATS = 1e12
MAX_NATS_PER_TOKEN = 20
MAX_WRITTEN = 5_000
"""Most characters that Yelp allows in a review."""
WRITTEN = 0.8
"""Share of the samples that must have a text of this length."""

_IDENTIFIED = (
    Check("present", "review_id", description="Every review has an id"),
    Check("unique", "review_id", description="No two reviews have one id"),
)


def _different(severity: Severity) -> Check:
    return Check(
        "different",
        "text",
        min=MIN_DIFFERENT,
        severity=severity,
        description=f"At least {MIN_DIFFERENT:.0%} of the texts are different",
    )


def _texts(mostly: float) -> list[Check]:
    """Return the checks of defects that may be rare but not frequent: traces of a wrong encoding, repetition."""
    checks = [
        Check(
            "free_of",
            "text",
            pattern=MOJIBAKE,
            description="show no trace of a wrong encoding (mojibake)",
        ),
        Check(
            "between",
            "word_run",
            max=MAX_WORD_RUN,
            description=f"repeat no word more than {MAX_WORD_RUN} times in a row",
        ),
        Check(
            "between",
            "character_run",
            max=MAX_CHARACTER_RUN,
            description=f"repeat no character more than {MAX_CHARACTER_RUN} times in a row",
        ),
    ]
    share = f"At least {mostly * 100:.4g}% of the texts"
    return [
        replace(
            check,
            mostly=mostly,
            severity=WARNING,
            description=f"{share} {check.description}",
        )
        for check in checks
    ]


def _raw(limits: ChecksConfig, facts: Facts) -> list[Check]:
    share = limits.min_stars_known
    quarantined = limits.max_quarantined
    longest = int(facts.get("max_chars", MAX_CHARACTERS))
    # Dates may be local times: tomorrow is still plausible.
    tomorrow = datetime.now(UTC).replace(tzinfo=None, microsecond=0) + timedelta(days=1)
    return [
        *_IDENTIFIED,
        Check("present", "text", description="Every review has a text"),
        Check(
            "length",
            "text",
            min=1,
            max=longest,
            mostly=MOSTLY,
            severity=WARNING,
            description=f"At least {MOSTLY:.0%} of the texts have 1 to {longest:,} characters",
        ),
        Check(
            "free_of",
            "text",
            pattern=INVISIBLE,
            mostly=MOSTLY,
            severity=INFO,
            description=f"At least {MOSTLY:.0%} of the texts are free of control and invisible characters",
        ),
        *_texts(MOSTLY),
        _different(WARNING),
        Check(
            "one_of",
            "stars",
            values=(1, 2, 3, 4, 5),
            mostly=share,
            description=f"At least {share:.1%} of the ratings are 1, 2, 3, 4 or 5 stars, "
            "by checks.min_stars_known",
        ),
        Check(
            "present",
            "stars",
            mostly=share,
            severity=WARNING,
            description=f"At least {share:.1%} of the reviews have a rating, by checks.min_stars_known",
        ),
        Check(
            "between",
            "date",
            min=EARLIEST,
            max=tomorrow,
            mostly=MOSTLY,
            severity=WARNING,
            description=f"At least {MOSTLY:.0%} of the dates are from {EARLIEST} to now",
        ),
        Check("rows", min=1, description="There is at least one review"),
        Check(
            "rows",
            min=facts["rows"],
            max=facts["rows"],
            description=f"All {facts['rows']:,} reviews read are in the table",
        ),
        Check(
            "share",
            "quarantined",
            max=quarantined,
            description=f"At most {quarantined:.1%} of the records are in quarantine, "
            "by checks.max_quarantined",
        ),
    ]


def _clean(limits: ChecksConfig, facts: Facts) -> list[Check]:
    in_splits = []
    for split in SPLITS:
        description = f"There are reviews in the {split} split"
        in_splits.append(
            Check(
                "count_of",
                "split",
                values=(split,),
                min=1,
                description=description,
            )
        )

    in_languages = []
    if "wanted" in facts:
        description = f"At least {MIN_WANTED:.0%} of the reviews are in the languages that are kept"
        wanted = Check(
            "share",
            "wanted",
            min=MIN_WANTED,
            severity=INFO,
            description=description,
        )
        in_languages.append(wanted)

    return [
        *_IDENTIFIED,
        Check("present", "text", description="Every review has a text"),
        Check("length", "text", min=1, description="No text is empty"),
        Check(
            "free_of",
            "text",
            pattern=INVISIBLE,
            description="No text holds control or invisible characters",
        ),
        *_texts(MOSTLY_CLEAN),
        _different(INFO),
        Check(
            "between",
            "stars",
            min=0,
            max=5,
            description="Stars are 1 to 5, or 0 for unknown",
        ),
        Check(
            "between",
            "bytes",
            min=2,
            description="Every review has a byte of text and one for its end",
        ),
        Check("present", "split", description="Every review is in a split"),
        Check("one_of", "split", values=SPLITS, description=f"The splits are {', '.join(SPLITS)}"),
        *in_splits,
        Check(
            "share_of",
            "split",
            values=("train",),
            min=0.5,
            severity=WARNING,
            description="At least half of the reviews are there to train on",
        ),
        *in_languages,
    ]


def _tokens(limits: ChecksConfig, facts: Facts) -> list[Check]:
    total = facts["tokens"]
    size = facts["vocabulary_size"]
    unknown = limits.max_unknown_tokens
    return [
        *_IDENTIFIED,
        Check("between", "tokens", min=1, description="Every review has at least one scored token"),
        Check(
            "sum",
            "tokens",
            min=total,
            max=total,
            description=f"The lengths of the reviews add up to the stream's {total:,} tokens",
        ),
        Check("between", "bytes", min=1, description="Every review has at least one byte"),
        Check("between", "oov", min=0, description="Counts of unknown words are not negative"),
        Check("fact", "disagreeing", max=0, description="Every review is as long as its row says"),
        Check(
            "fact",
            "largest_id",
            min=0,
            max=size - 1,
            description=f"Every id is below the vocabulary's size, {size:,} (the value is the largest id)",
        ),
        Check(
            "share",
            "unknown",
            max=unknown,
            description=f"At most {unknown:.1%} of the tokens are unknown words",
        ),
    ]


def _predictions(limits: ChecksConfig, facts: Facts) -> list[Check]:
    return [
        *_IDENTIFIED,
        Check("present", "nats", description="Every score is a number"),
        Check("between", "nats", min=0, description="Scores are not negative (nats)"),
        Check(
            "between",
            "nats",
            max=MAX_NATS,
            severity=WARNING,
            description="No review has probability 0, infinitely many nats: the gate promotes no such model",
        ),
        Check("between", "tokens", min=1, description="Every review has at least one token"),
        Check("between", "bytes", min=1, description="Every review has at least one byte"),
        Check(
            "ratio",
            "nats",
            other="tokens",
            max=MAX_NATS_PER_TOKEN,
            severity=INFO,
            description=f"A token costs at most {MAX_NATS_PER_TOKEN} nats on average (the value is the mean)",
        ),
    ]


def _samples(limits: ChecksConfig, facts: Facts) -> list[Check]:
    """Return the checks of generated texts.

    Length, control or invisible characters and special tokens only give warnings: a model of bytes may write an
    invisible character, or spell "<eos>". A unigram model ends one text in fifty before the first word.
    """
    return [
        Check("present", "text", description="Every sample has a text"),
        Check(
            "between",
            "stars",
            min=0,
            max=5,
            description="Samples have 1 to 5 stars, or 0 for unknown",
        ),
        Check(
            "length",
            "text",
            min=1,
            max=MAX_WRITTEN,
            mostly=WRITTEN,
            severity=WARNING,
            description=f"At least {WRITTEN:.0%} of the samples have 1 to {MAX_WRITTEN:,} characters",
        ),
        Check(
            "free_of",
            "text",
            pattern=INVISIBLE,
            severity=WARNING,
            description="No sample holds control or invisible characters",
        ),
        Check(
            "free_of",
            "text",
            pattern="|".join(re.escape(word) for word in SPECIAL),
            severity=WARNING,
            description="No sample shows a special token",
        ),
    ]


_SUITES: dict[str, Callable[[ChecksConfig, Facts], list[Check]]] = {
    "raw": _raw,
    "clean": _clean,
    "tokens": _tokens,
    "predictions": _predictions,
    "samples": _samples,
}


def suite_of(
    stage: str,
    limits: ChecksConfig,
    reported: Facts,
) -> tuple[list[Check], dict[str, Any]]:
    """Return the checks of the table of a stage, and the facts that they judge.

    Args:
        reported: Numbers that the stage reported about its result. "raw" needs `rows` and `quarantined`; "tokens" needs
            `tokens`, `disagreeing`, `unknown`, `largest_id` and `vocabulary_size`.

    Raises:
        KeyError: There is no such suite, or a fact that it needs is missing: no suite may pass because of that.
    """
    facts = dict(reported)
    if stage == "raw":
        facts["quarantined"] = facts["quarantined"] / max(1, facts["rows"] + facts["quarantined"])
    if stage == "tokens":
        facts["unknown"] = facts["unknown"] / max(1, facts["tokens"])
    if stage == "clean" and (aside := sum((facts.get("languages") or {}).values())):
        facts["wanted"] = facts["rows"] / (facts["rows"] + aside)
    return _SUITES[stage](limits, facts), facts
