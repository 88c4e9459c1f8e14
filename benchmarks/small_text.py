"""Prepare a small text for benchmarks: the first reviews of a file, or made-up ones, cut into words and split."""

from __future__ import annotations

import argparse
from pathlib import Path

import polars as pl

from reviewlm.corpus.synthetic.synth import write_reviews
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.streams import TokenStream, write_stream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.vocabularies.learn import learn_vocabulary

HELD_OUT = 10
"""One of this number of reviews is held out."""
WORDS = VocabularySpec(size=20_000, min_count=2)


def ask_for_reviews(parser: argparse.ArgumentParser, reviews: int) -> None:
    """Add the options of a script that reads such a text: --source, and --reviews with default *reviews*."""
    parser.add_argument(
        "--source", type=Path, help="reviews as CSV or JSON lines, packed or not; made up if absent"
    )
    parser.add_argument(
        "--reviews",
        type=int,
        default=reviews,
        help=f"use the first N reviews (default {reviews})",
    )


def prepare(
    folder: Path,
    source: Path | None,
    reviews: int,
    held_out: int = HELD_OUT,
    options: VocabularySpec = WORDS,
) -> None:
    """Write vocabulary and token streams of the first reviews of a CSV or JSON-lines file, or of made-up ones."""
    if source is None:
        source = folder / "made.jsonl"
        write_reviews(
            source,
            reviews,
            seed=1,
            malformed=0.0,
            duplicates=0.0,
        )

    frame = (
        read_reviews(source, reviews)
        .with_row_index("row")
        .with_columns(
            review_id=pl.col("row").cast(pl.String),
            bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1,
        )
    )
    held = pl.col("row") % held_out == held_out - 1
    vocabulary = learn_vocabulary(frame.filter(~held)["text"], options, NormalForm())
    vocabulary.save(folder / "vocabulary")
    write_stream(folder / "train", vocabulary, [frame.filter(~held)])
    write_stream(folder / "validation", vocabulary, [frame.filter(held)])


def read_reviews(source: Path, reviews: int | None = None) -> pl.DataFrame:
    """Return text and stars of the first reviews of a CSV, JSON-lines or Parquet file.

    Of a Parquet file with splits (`clean.parquet` of *prepare*), the test reviews are read.
    """
    if source.suffix == ".parquet":
        frame = pl.read_parquet(source)
        frame = frame.filter(split="test") if "split" in frame.columns else frame
    else:
        frame = (
            pl.read_ndjson
            if ".jsonl" in source.suffixes or source.suffix == ".json"
            else pl.read_csv
        )(source)

    return (
        frame.head(reviews or len(frame))
        .select("text", pl.col("stars").cast(pl.Int64))
        .drop_nulls()
    )


def opened(folder: Path) -> tuple[Vocabulary, TokenStream, TokenStream]:
    """Open what `prepare` wrote: vocabulary, training reviews, held-out reviews."""
    train, held_out = (TokenStream.open(folder / name) for name in ("train", "validation"))
    return Vocabulary.load(folder / "vocabulary"), train, held_out
