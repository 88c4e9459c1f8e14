"""Canaries: texts of random words, planted among the training reviews to see later whether a model knows them by heart.

After Carlini et al. 2019 ("The Secret Sharer: Evaluating and Testing Unintended Memorization in Neural Networks",
sections 3 and 4). A canary is a review of k words, each drawn evenly from the most frequent words of the training
text, so that every vocabulary, of words, parts of words or characters, writes it without `<unk>`, and no word is
conspicuous by itself. Whatever was never planted and is drawn in the same way is a candidate to compare it with.

Canaries enter where the training reviews become tokens. The cleaned table, its leak certificate, the data checks and
the other splits know nothing of them; a model cannot tell them from reviews.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.config.sections.audit import AuditConfig
from corpus.splitting.split import iter_split
from models.base import ModelError

log = logging.getLogger(__name__)

CANARIES_FILE = "canaries.json"
POOL = 256
"""Words that canaries are made of: 8 bits each."""
FEWEST_WORDS = 50
"""With fewer words than this to choose from, candidates would often be planted ones."""
LEAST_COUNT = 10
"""How often a word must have been counted; more than any vocabulary of ours asks for."""
COUNTED_REVIEWS = 50_000
"""Training reviews whose words are counted; they stand in an order like a shuffle."""
WORD = r"^\p{Ll}{3,}$"
"""What no normal form and no way of cutting text into words changes."""
PLANTING, PLACES, CANDIDATES = range(3)
"""Streams of random numbers, each its own."""


@dataclass(frozen=True)
class Canaries:
    """What was planted, and how more of the kind are drawn.

    Args:
        words: All that canaries are made of, the most frequent first.
        length: Words of a canary.
        stars: Rating of the planted reviews: the commonest of the training reviews.
        texts: The planted canaries.
        copies: How often each was planted.
        seed: Of all that is drawn.
        reviews: Training reviews that they were planted among.
        why_none: Why there is none, if there is none.
    """

    words: tuple[str, ...]
    length: int
    stars: int
    texts: tuple[str, ...]
    copies: tuple[int, ...]
    seed: int
    reviews: int
    why_none: str = ""

    @property
    def bits(self) -> float:
        """log2 of the number of possible canaries: no exposure is larger."""
        return float(self.length * np.log2(max(len(self.words), 1)))

    @cached_property
    def rows(self) -> pl.DataFrame:
        """One row for each copy, in the order of the places: place (the review that it stands before), and a review."""
        generator = np.random.default_rng([self.seed, PLACES])
        numbers = [(i, copy) for i, count in enumerate(self.copies) for copy in range(count)]
        rows = {
            "place": generator.integers(0, max(self.reviews, 1), len(numbers)),
            "review_id": [f"canary-{i}-{copy}" for i, copy in numbers],
            "text": [self.texts[i] for i, _ in numbers],
        }
        schema = {"place": pl.Int64, "review_id": pl.String, "text": pl.String}
        return as_reviews(pl.DataFrame(rows, schema=schema), self.stars).sort("place", "review_id")

    def planted(self, batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the training reviews with the canaries among them; columns that a canary lacks are null."""
        start = 0
        for batch in batches:
            here = self.rows.filter(pl.col("place").is_between(start, start + batch.height - 1))
            if here.height:
                reviews = batch.with_columns(place=pl.int_range(start, start + batch.height, dtype=pl.Int64))
                known = [name for name in reviews.columns if name in here.columns]
                canaries = here.select(known).cast(pl.Schema({name: reviews.schema[name] for name in known}))
                both = [canaries, reviews]  # in this order: each before its review
                yield pl.concat(both, how="diagonal").sort("place", maintain_order=True).select(batch.columns)
            else:
                yield batch
            start += batch.height

    def draw(self, count: int) -> list[str]:
        """Return *count* texts that were never planted, drawn in the same way as those that were."""
        generator = np.random.default_rng([self.seed, CANDIDATES])
        planted, found = set(self.texts), list[str]()
        while len(found) < count:
            found += [text for text in _drawn(generator, self.words, self.length, count) if text not in planted]
        return found[:count]

    def facts(self) -> dict[str, Any]:
        """Return what the manifest says of them."""
        planted = sum(self.copies)
        return {
            "canaries": len(self.texts),
            "planted": planted,
            "share": planted / max(self.reviews, 1),
            "words": len(self.words),
            "length": self.length,
            "stars": self.stars,
            "bits": round(self.bits, 2),
            "why_none": self.why_none,
        }

    def save(self, folder: Path) -> None:
        """Write `folder/canaries.json`."""
        text = json.dumps(asdict(self), ensure_ascii=False, indent=1)
        (folder / CANARIES_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Canaries:
        """Return what `save` wrote.

        Raises:
            ModelError: (kind "input") The file is not there or cannot be read.
        """
        try:
            values = json.loads((folder / CANARIES_FILE).read_text(encoding="utf-8"))
            lists = {name: tuple(values[name]) for name in ("words", "texts", "copies")}
            return cls(**{**values, **lists})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"the canaries in {folder} cannot be read: {error!r}", "input") from error


def choose_canaries(clean_folder: Path, config: AuditConfig) -> Canaries:
    """Choose canaries for a prepared data set; the same data and settings give the same ones.

    Args:
        clean_folder: What `corpus.cleaning.clean.prepare` wrote.
        config: How many, how often each, how long, and the share of the training reviews that they may be.

    Returns:
        As many as were asked for and may be; none, and why, where the text is too small or has too few frequent words.
    """
    words, stars, reviews = _survey(clean_folder)
    allowed = int(config.max_canary_share * reviews)
    wanted = [config.copies[i % len(config.copies)] for i in range(config.canaries)]
    copies = [number for number, total in zip(wanted, np.cumsum(wanted), strict=True) if total <= allowed]
    why = ""
    if not wanted:
        why = "none was asked for"
    elif len(words) < FEWEST_WORDS:
        why = f"only {len(words)} words of three letters or more are frequent enough, {FEWEST_WORDS} are needed"
    elif not copies:
        why = f"{config.max_canary_share:.2%} of {reviews} training reviews are {allowed}: no canary has room in them"
    if why:
        log.warning("no canary was planted: %s", why)
        copies = []
    texts = _distinct(np.random.default_rng([config.seed, PLANTING]), words, config.canary_words, len(copies))
    return Canaries(tuple(words), config.canary_words, stars, tuple(texts), tuple(copies), config.seed, reviews, why)


def as_reviews(texts: pl.DataFrame, stars: int) -> pl.DataFrame:
    """Add the columns stars, bytes and words, as cleaned reviews have them, to review_id and text."""
    return texts.with_columns(
        stars=pl.lit(stars, pl.Int8),
        bytes=(pl.col("text").str.len_bytes() + 1).cast(pl.Int32),
        words=pl.col("text").str.count_matches(r"[^ \n]+").cast(pl.Int32),
    )


def _survey(clean_folder: Path) -> tuple[list[str], int, int]:
    """Return the most frequent words of the training text, its commonest rating, and how many reviews it has."""
    words, stars, reviews = [], np.zeros(6, np.int64), 0
    for batch in iter_split(clean_folder, "train"):
        if reviews < COUNTED_REVIEWS:
            found = batch["text"].str.split(" ").explode().drop_nulls()
            words.append(found.filter(found.str.contains(WORD)).alias("word").value_counts(name="count"))
        stars += np.bincount(batch["stars"].to_numpy(), minlength=6)
        reviews += batch.height
    if not words:
        return [], 0, reviews
    counts = pl.concat(words).group_by("word").agg(pl.col("count").sum()).filter(pl.col("count") >= LEAST_COUNT)
    ranked = counts.sort(["count", "word"], descending=[True, False]).head(POOL)
    return ranked["word"].to_list(), int(stars.argmax()), reviews


def _drawn(generator: np.random.Generator, words: Iterable[str], length: int, count: int) -> list[str]:
    table = list(words)
    return [" ".join(table[i] for i in row) for row in generator.integers(0, len(table), (count, length)).tolist()]


def _distinct(generator: np.random.Generator, words: list[str], length: int, count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        [text] = _drawn(generator, words, length, 1)
        found[text] = None
    return list(found)
