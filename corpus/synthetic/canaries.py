"""Plant canaries, texts of random words, among the training reviews to measure later what a model memorises.

The method is that of Carlini et al. 2019 ("The Secret Sharer: Evaluating and Testing Unintended Memorization in Neural
Networks", sections 3 and 4). A canary is a review of k words, drawn uniformly from the most frequent words of the
training text. So every vocabulary (of words, subwords or characters) encodes it without `<unk>`, and no single word is
unusual. Texts that are drawn in the same way but never planted are candidates for comparison.

Canaries are added when the training reviews are tokenized. The cleaned table, its leak certificate, the data checks and
the other splits do not contain them. No field marks them as canaries, so a model reads them as reviews.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pydantic import TypeAdapter

from reviewlm.core.config.sections.evaluation import AuditConfig
from reviewlm.corpus.schema import byte_count, word_count
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.models.base import ModelError

log = logging.getLogger(__name__)

CANARIES_FILE = "canaries.json"
POOL = 256
"""Number of words to draw from: 8 bits per word."""
CANARY_WORDS = 5
"""Words in a canary: as many as in an n-gram of the baseline."""
FEWEST_WORDS = 50
"""Least number of words to draw from; with fewer, candidates would often equal planted canaries."""
LEAST_COUNT = 10
"""Least count of a word; more than any of our vocabularies requires."""
COUNTED_REVIEWS = 50_000
"""Number of training reviews whose words are counted; their order is like a shuffle."""
WORD = r"^\p{Ll}{3,}$"
"""Pattern of words that no normal form and no tokenizer changes."""
PLANTING, PLACES, CANDIDATES = range(3)
"""Numbers of the independent streams of random numbers."""


@dataclass(frozen=True)
class Canaries:
    """The planted canaries, and the parameters to draw more texts of the same kind.

    Args:
        words: All words that can be drawn, the most frequent first.
        length: Number of words in a canary.
        stars: Rating of the planted reviews: the most common one of the training reviews.
        texts: The planted canaries.
        copies: Number of copies of each canary.
        seed: Seed of all draws.
        reviews: Number of training reviews, without canaries.
        why_none: Reason if there are no canaries.
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
        """Base-2 logarithm of the number of possible canaries, the upper limit of the exposure."""
        return float(self.length * np.log2(max(len(self.words), 1)))

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Table of all copies, sorted by place (the number of the review after it), with the columns of a review."""
        generator = np.random.default_rng([self.seed, PLACES])
        ids = []
        texts = []
        for i, (text, count) in enumerate(zip(self.texts, self.copies, strict=True)):
            for copy in range(count):
                ids.append(f"canary-{i}-{copy}")
                texts.append(text)

        rows: dict[str, Any] = {}
        rows["place"] = generator.integers(0, max(self.reviews, 1), len(ids))
        rows["review_id"] = ids
        rows["text"] = texts
        schema = {
            "place": pl.Int64,
            "review_id": pl.String,
            "text": pl.String,
        }
        return as_reviews(pl.DataFrame(rows, schema=schema), self.stars).sort("place", "review_id")

    def plant(self, batches: Iterable[pl.DataFrame], start: int = 0) -> Iterator[pl.DataFrame]:
        """Yield the training reviews with the canaries inserted; columns that a canary does not have are null.

        Args:
            batches: Training reviews in their order.
            start: Number of training reviews before these.
        """
        for batch in batches:
            planted = self.rows.filter(pl.col("place").is_between(start, start + batch.height - 1))
            if planted.height:
                reviews = batch.with_columns(
                    place=pl.int_range(start, start + batch.height, dtype=pl.Int64)
                )
                columns = [name for name in reviews.columns if name in planted.columns]
                types = pl.Schema({name: reviews.schema[name] for name in columns})
                canaries = planted.select(columns).cast(types)
                # Canaries first, so that the stable sort puts each before its review.
                both = pl.concat([canaries, reviews], how="diagonal")
                yield both.sort("place", maintain_order=True).select(batch.columns)
            else:
                yield batch

            start += batch.height

    def draw(self, count: int) -> list[str]:
        """Return *count* texts that were never planted, drawn in the same way as the planted ones."""
        generator = np.random.default_rng([self.seed, CANDIDATES])
        planted = set(self.texts)
        texts: list[str] = []
        while len(texts) < count:
            drawn = _draw_phrases(generator, self.words, self.length, count)
            texts += [text for text in drawn if text not in planted]

        return texts[:count]

    def facts(self) -> dict[str, Any]:
        """Return the facts for the manifest."""
        planted = sum(self.copies)
        share = planted / max(self.reviews, 1)
        facts: dict[str, Any] = {
            "canaries": len(self.texts),
            "planted": planted,
            "share": share,
        }
        facts |= {
            "words": len(self.words),
            "length": self.length,
            "stars": self.stars,
        }
        facts |= {"bits": round(self.bits, 2), "why_none": self.why_none}
        return facts

    def save(self, folder: Path) -> None:
        """Write `folder/canaries.json`."""
        (folder / CANARIES_FILE).write_bytes(_JSON.dump_json(self, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Canaries:
        """Return the canaries that `save` wrote.

        Raises:
            ModelError: (kind "input") The file does not exist or cannot be read.
        """
        try:
            return _JSON.validate_json((folder / CANARIES_FILE).read_bytes())
        except (OSError, ValueError) as error:
            raise ModelError(
                f"the canaries in {folder} cannot be read: {error!r}", "input"
            ) from error


_JSON = TypeAdapter(Canaries)


def choose_canaries(clean_folder: Path, config: AuditConfig) -> Canaries:
    """Choose canaries for a prepared data set; the same data and settings give the same ones.

    Args:
        clean_folder: The folder that `reviewlm.corpus.cleaning.clean.prepare` wrote.
        config: Number of canaries, and copies of each.

    Returns:
        The requested canaries, as far as the share allows; none, with the reason, if the text is too small or has too
        few frequent words.
    """
    words, stars, reviews = _survey(clean_folder)
    allowed = max(1, int(config.max_canary_share * reviews))
    targets = [config.copies[i % len(config.copies)] for i in range(config.canaries)]
    copies = []
    for number, total in zip(targets, np.cumsum(targets), strict=True):
        if total <= allowed:
            copies.append(number)

    why = ""
    if not targets:
        why = "none was requested"
    elif len(words) < FEWEST_WORDS:
        why = f"only {len(words)} words of three letters or more are frequent enough, {FEWEST_WORDS} are needed"
    elif not copies:
        share = f"{config.max_canary_share:.2%} of {reviews} training reviews are {allowed}"
        why = f"{share}: too few for the copies of one canary"

    if why:
        log.warning("no canary was planted: %s. Give more reviews, or set audit.canaries=0", why)
        copies = []

    generator = np.random.default_rng([config.seed, PLANTING])
    texts = _distinct(generator, words, CANARY_WORDS, len(copies))
    return Canaries(
        tuple(words),
        CANARY_WORDS,
        stars,
        tuple(texts),
        tuple(copies),
        config.seed,
        reviews,
        why,
    )


def as_reviews(texts: pl.DataFrame, stars: int) -> pl.DataFrame:
    """Add the columns stars, bytes and words of cleaned reviews to a table with review_id and text."""
    return texts.with_columns(
        stars=pl.lit(stars, pl.Int8),
        bytes=byte_count(),
        words=word_count(),
    )


def _survey(clean_folder: Path) -> tuple[list[str], int, int]:
    """Return the most frequent words of the training text, its most common rating, and the number of its reviews."""
    words = []
    stars = np.zeros(6, np.int64)
    reviews = 0
    for batch in iter_split(clean_folder, "train"):
        if reviews < COUNTED_REVIEWS:
            written = batch["text"].str.split(" ").explode().drop_nulls()
            plain = written.filter(written.str.contains(WORD)).alias("word")
            words.append(plain.value_counts(name="count"))
        stars += np.bincount(batch["stars"].to_numpy(), minlength=6)
        reviews += batch.height

    if not words:
        return [], 0, reviews

    counts = pl.concat(words).group_by("word").agg(pl.col("count").sum())
    counts = counts.filter(pl.col("count") >= LEAST_COUNT)
    ranked = counts.sort(["count", "word"], descending=[True, False]).head(POOL)
    return ranked["word"].to_list(), int(stars.argmax()), reviews


def _draw_phrases(
    generator: np.random.Generator,
    words: Iterable[str],
    length: int,
    count: int,
) -> list[str]:
    """Return texts of so many words, each drawn uniformly; they may be equal."""
    table = list(words)
    drawn = generator.integers(0, len(table), (count, length)).tolist()
    phrases = []
    for row in drawn:
        phrases.append(" ".join([table[i] for i in row]))

    return phrases


def _distinct(
    generator: np.random.Generator,
    words: list[str],
    length: int,
    count: int,
) -> list[str]:
    """Return different texts of so many words."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        [text] = _draw_phrases(generator, words, length, 1)
        texts[text] = None
    return list(texts)
