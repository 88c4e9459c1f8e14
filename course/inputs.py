"""Give the course's programs what all of them take: options, reviews, a fitted model, and a small one of their own."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from random import Random

import polars as pl

from corpus.synthetic.grammar import sample_review
from corpus.synthetic.grammar_domains import STARS


def program(doc: str | None, **defaults: float | str) -> ArgumentParser:
    """Return the options of a program: its own with their defaults, and the text that it reads.

    Args:
        doc: Its module's text, shown by --help.
        defaults: By name; a default has the type of the option.
    """
    parser = ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    for name, default in {**defaults, "reviews": 1_000}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=f"({default})")
    parser.add_argument("--text", type=Path, help="file with one review a line; else reviews of the embedded grammar")
    return parser


def review_texts(file: Path | None, count: int, seed: int = 1) -> list[str]:
    """Return the first reviews of a file, a line each, or reviews drawn from the embedded grammar."""
    return review_table(file, count, seed)["text"].to_list()


def review_table(file: Path | None, count: int, seed: int = 1) -> pl.DataFrame:
    """Return the same as a table that `models.streams.write_stream` takes; in a file the ratings are unknown."""
    if file is None:
        stars = [int(star) for star in Random(seed).choices(list(STARS), list(STARS.values()), k=count)]
        texts = [sample_review(star, seed * 1_000_000 + number) for number, star in enumerate(stars)]
    else:
        texts = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()][:count]
        stars = [0] * len(texts)
    table = pl.DataFrame({"review_id": [str(number) for number in range(len(texts))], "text": texts, "stars": stars})
    return table.with_columns(pl.col("stars").cast(pl.Int8), bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1)
