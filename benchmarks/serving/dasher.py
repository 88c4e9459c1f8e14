"""Measure how many bits of pointing reviews take with Dasher, beside their code length under the model.

    python -m benchmarks.serving.dasher --model reviewlm-demo@champion --reviews REVIEWS.csv --write
    python -m benchmarks.serving.dasher --model models/BPE/mixture --reviews REVIEWS.csv --skip 6000 --write

`--model` is a registered version or the folder of a bundle (with a separator in its path). `--reviews` is a CSV,
JSON-lines or Parquet file with the columns text and stars; of a Parquet file with splits, the test reviews are used.
The first reviews of the asked length are written whole, each with its rating; `--skip` leaves out those that the model
was fitted on. The code length has the spelling of unknown words. Both numbers are exact: they depend neither on the
machine nor on its load.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import log, log2
from pathlib import Path
from typing import Any

import polars as pl

import reviewlm
from benchmarks.harness import Ratio, Report, arguments, finish, say
from benchmarks.small_text import read_reviews
from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.dasher import DasherInterval, intervals
from reviewlm.models.completion.reading import Readers

GOAL = 0.98
"""Code length relative to the bits: writing takes at most 2 % more."""


def bits_to_write(
    bundle: Bundle,
    text: str,
    stars: int | None = None,
) -> float:
    """Return the bits that writing a text and its end takes: −log2 of the product of its nested intervals.

    Raises:
        ModelError: kind "input": a character has no interval, or the rating is not valid.
    """
    readers = Readers(bundle)
    bits = 0.0
    for place, char in enumerate([*text, ""]):
        entered = DasherInterval("character", "", 1.0)
        while True:
            divided = entered.kind == "other"
            children = intervals(
                bundle,
                text[:place],
                stars,
                divided,
                readers=readers,
                begun=entered.begun,
            )
            below = next((each for each in children if _holds(each, char)), None)
            if below is None:
                raise ModelError(f"{char!r} cannot follow {text[:place][-30:]!r}", "input")
            entered = below
            bits = bits - log2(below.probability)
            if entered.kind != "other":
                break

    return bits


def _holds(interval: DasherInterval, char: str) -> bool:
    """Return whether a character is in an interval; "" stands for the end of the review."""
    if interval.kind == "other":
        return not char.isascii() and char.encode().startswith(bytes.fromhex(interval.begun))
    return interval.kind == ("character" if char else "end") and interval.symbol == char


def written(
    bundle: Bundle,
    text: str,
    stars: int,
) -> dict[str, Any]:
    """Return the bits that a text takes, and its code length.

    Raises:
        ModelError: kind "input": a character has no interval.
    """
    bits = bits_to_write(bundle, text, stars)
    score = bundle.score_text(text, stars)
    code = (score.nats + score.spelling_nats) / log(2)
    return {
        "characters": len(text),
        "unknown words": score.oov,
        "bits": round(bits, 2),
        "code length": round(code, 2),
        "bits / code length": round(bits / code, 4),
    }


def together(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums over all texts, and the extremes of single ones."""
    sums = {
        name: round(sum(row[name] for row in rows), 2)
        for name in ("characters", "unknown words", "bits")
    }
    code = sum(row["code length"] for row in rows)
    shares = [row["bits / code length"] for row in rows]
    share = round(sums["bits"] / code, 4)
    return {
        **sums,
        "code length": round(code, 2),
        "bits / code length": share,
        "single texts": [min(shares), max(shares)],
    }


def measured(bundle: Bundle, reviews: pl.DataFrame) -> tuple[list[dict[str, Any]], list[str]]:
    """Return a row for each review that can be written, and why the others cannot."""
    rows: list[dict[str, Any]] = []
    refused: list[str] = []
    for text, stars in reviews.select("text", "stars").iter_rows():
        try:
            rows.append(written(bundle, text, stars))
            say(str(rows[-1]))
        except ModelError as error:
            refused.append(str(error))
    return rows, refused


def chosen(
    bundle: Bundle,
    frame: pl.DataFrame,
    count: int,
    length: Sequence[int],
) -> pl.DataFrame:
    """Return the first reviews whose normal form has a number of characters between two limits."""
    texts = pl.Series(
        "text", [bundle.vocabulary.normal_form.apply(text) for text in frame["text"]], pl.String
    )
    return (
        frame.with_columns(texts)
        .filter(pl.col("text").str.len_chars().is_between(length[0], length[1]))
        .head(count)
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--model", default="champion", help="registered version, or folder of a bundle"
    )
    parser.add_argument(
        "--reviews",
        type=Path,
        required=True,
        help="file of reviews that the model has not read",
    )
    parser.add_argument(
        "--count",
        type=int,
        default=36,
        help="reviews that are written (default 36)",
    )
    parser.add_argument(
        "--skip",
        type=int,
        default=0,
        help="reviews at the beginning of the file that are left out",
    )
    parser.add_argument(
        "--length",
        type=int,
        nargs=2,
        default=(60, 250),
        metavar=("LEAST", "MOST"),
        help="characters of a review (default 60 250)",
    )
    args: argparse.Namespace = parser.parse_args(argv)
    lm = reviewlm.load(args.model)
    reviews = read_reviews(args.reviews)[args.skip :]
    rows, refused = measured(
        lm.bundle, chosen(lm.bundle, reviews, 4 if args.quick else args.count, args.length)
    )
    if not rows:
        raise SystemExit(
            f"no review of {args.length[0]} to {args.length[1]} characters can be written; {refused[:3]}"
        )

    whole = together(rows)
    table = {"all": whole, **{f"text {number}": row for number, row in enumerate(rows, start=1)}}
    ratio = Ratio(round(whole["code length"] / whole["bits"], 4), GOAL, "code length")
    vocabulary = lm.bundle.vocabulary
    notes = (
        f"Model: {lm.name}{f', version {lm.version}' if lm.version else ''}, kind {lm.bundle.spec.kind}, vocabulary "
        f"{vocabulary.unit} of {vocabulary.size:,} entries, digest {lm.bundle.digest[:12]}.",
        f"Reviews: {args.reviews.name}, {len(rows)} of {args.length[0]} to {args.length[1]} characters, with their "
        f"ratings; {len(refused)} cannot be written{': ' + '; '.join(refused[:3]) if refused else ''}.",
        "A text may take fewer bits than its code length where a word can be cut into tokens in several ways.",
    )
    finish(
        args,
        Report(
            "dasher",
            "Bits of writing with Dasher",
            table,
            {"bits.code": ratio},
            ("torch",),
            notes,
        ),
    )


if __name__ == "__main__":
    main()
