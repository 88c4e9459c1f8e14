"""Build the reference that samples are compared with: training text as words, held-out reviews."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.corpus.splitting.split import iter_split
from reviewlm.evaluation.writing.novelty import (
    overlap,
)
from reviewlm.evaluation.writing.word_stream import (
    WordStream,
    open_word_stream,
    word_stream,
    write_word_stream,
)

BATCH_ROWS = 2_000
REAL_REVIEWS = 2_000
"""Maximum number of held-out reviews that samples are compared with."""
REVIEWS_FILE = "reviews.parquet"
REAL_FILE = "real.parquet"
CURVE_FILE = "curve.json"


@dataclass(frozen=True)
class RealText:
    """Reference that `make_reference` wrote to *folder*."""

    folder: Path

    @cached_property
    def training(self) -> WordStream:
        """The training text, memory-mapped."""
        return open_word_stream(self.folder)

    @cached_property
    def review_ids(self) -> pl.Series:
        """Ids of the training reviews, in the order of the stream."""
        return pl.read_parquet(self.folder / REVIEWS_FILE)["review_id"]

    @cached_property
    def real(self) -> pl.DataFrame:
        """Held-out reviews: review_id, text, longest.

        longest: number of words of the longest span within the first `most_words` that occurs in the training text.
        """
        return pl.read_parquet(self.folder / REAL_FILE)

    @cached_property
    def real_curve(self) -> list[float | None]:
        """Shares of n-grams of the held-out reviews that occur in the training text, n = 1, 2, …

        Only the first `most_words` words of each review are used.
        """
        curve: list[float | None] = json.loads(
            (self.folder / CURVE_FILE).read_text(encoding="utf-8")
        )
        return curve


def make_reference(
    clean_folder: Path,
    folder: Path,
    most_words: int,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Build the reference that models of a prepared data set are audited with.

    Args:
        clean_folder: Folder written by `reviewlm.corpus.cleaning.clean.prepare`.
        folder: Output folder; it gets 8 bytes for each word of the training text.
        most_words: Maximum length of samples: only this number of first words of a held-out review is looked up.
        report: Called with the number of training reviews done.

    Returns:
        Facts: words (of the training text), real_reviews.
    """
    ids: list[pl.Series] = []

    def texts() -> Iterator[pl.Series]:
        for batch in iter_split(clean_folder, "train", BATCH_ROWS):
            ids.append(batch["review_id"])
            yield batch["text"]
            report(sum(map(len, ids)))

    training = write_word_stream(folder, texts())
    pl.DataFrame({"review_id": pl.concat(ids)}).write_parquet(folder / REVIEWS_FILE)
    real = next(iter_split(clean_folder, "test", REAL_REVIEWS)).select("review_id", "text")
    copies = overlap(word_stream(real["text"]).cut_at(most_words), training)
    real.with_columns(longest=pl.Series(copies.longest_D)).write_parquet(folder / REAL_FILE)
    (folder / CURVE_FILE).write_text(json.dumps(copies.curve()), encoding="utf-8")
    return {"words": len(training.words_N), "real_reviews": real.height}
