"""Profile reviews side by side in figures that can be added, in one pass.

    survey = take_survey(batches, work)        # memory does not grow with the reviews
    survey.profile.to_json()                   # about 1 MB for any size of the corpus

All figures are sums, histograms with fixed edges, or the sketches of `corpus/profiling/sketches.py`. So the sides can
be merged to the whole, except for words too rare to be listed (see `Tally.unlisted`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.errors import EmptyInput
from corpus.profiling.sketches import Tally, TypeSample, name_hashes
from corpus.profiling.word_statistics import LISTED, WordCounts, WordStatistics
from corpus.splitting.split import TRAIN_FIRST
from models.text.personal_data import MASKS
from models.threads import ordered
from models.tokens.chunks import Chunks

NEW = "new"
"""Name of the side for reviews without a split, that is, new reviews."""
LENGTH_EDGES = tuple(sorted({round(2 ** (step / 8)) for step in range(8 * 16 + 1)}))
"""Lower edges of the bins of words per review: 1, 2, … then 8 per doubling. The last bin has no end; bin 0 is below."""
BATCH_BYTES = 1 << 20
"""Bytes of text counted at a time; a single longer review is one batch."""
FIRST_BYTES = 16 << 10
COLUMNS: dict[str, pl.DataType] = {
    "text": pl.String(), "stars": pl.Int8(), "bytes": pl.Int32(), "words": pl.Int32(), "date": pl.Datetime("us"),
    "split": pl.String(), "business_id": pl.String(), "user_id": pl.String(), "categories": pl.String(),
    "city": pl.String(),
}
SAMPLES_PER_STAR, SAMPLE_WORDS = 3, (15, 120)
PLACEHOLDERS = tuple(dict.fromkeys(step.replacement for step in MASKS))
"""Placeholders that the normal form writes in place of personal data (`models/text/normal_form.py`)."""
MONTHS, NAMES = 2_400, 2_000
"""Numbers of months, and of categories or cities, that are kept."""


@dataclass
class ReviewSummary:
    """Figures of some reviews. `a + b` is the summary of both.

    Args:
        reviews: Number of reviews.
        words: Number of words; white space separates words.
        bytes: UTF-8 bytes of the texts, plus one per review for its end.
        stars: Reviews with unknown rating, 1, …, 5 stars.
        lengths: Reviews by number of words, in bins that begin at 0 and at each of `LENGTH_EDGES`.
        byte_values: Number of occurrences of each of the 256 byte values in the texts.
        masks: Number of occurrences of each of `PLACEHOLDERS`.
        months: Reviews by month ("2015-03"), without undated reviews.
        categories: Reviews by category of their business; a review may have several.
        cities: Reviews by city of their business.
        top_words: Counts of the most frequent words of the word unit, punctuation included, case folded.
        types: Sample of the different words.
        businesses: Sample of the businesses.
        users: Sample of the authors.
    """

    reviews: int = 0
    words: int = 0
    bytes: int = 0
    stars: list[int] = field(default_factory=lambda: [0] * 6)
    lengths: list[int] = field(default_factory=lambda: [0] * (len(LENGTH_EDGES) + 1))
    byte_values: list[int] = field(default_factory=lambda: [0] * 256)
    masks: Tally = field(default_factory=partial(Tally, len(PLACEHOLDERS)))
    months: Tally = field(default_factory=partial(Tally, MONTHS))
    categories: Tally = field(default_factory=partial(Tally, NAMES))
    cities: Tally = field(default_factory=partial(Tally, NAMES))
    top_words: Tally = field(default_factory=partial(Tally, LISTED))
    types: TypeSample = field(default_factory=TypeSample)
    businesses: TypeSample = field(default_factory=TypeSample)
    users: TypeSample = field(default_factory=TypeSample)

    def add(self, reviews: pl.DataFrame, texts: Chunks) -> None:
        """Add the counts of reviews and their *texts*, except for their words, which come from `WordCounts`."""
        self.reviews += reviews.height
        self.words += int(reviews["words"].sum())
        self.bytes += int(reviews["bytes"].sum())
        self.stars = _added(self.stars, np.bincount(reviews["stars"].fill_null(0).to_numpy(), minlength=6))
        bins = np.searchsorted(LENGTH_EDGES, reviews["words"].to_numpy(), side="right")
        self.lengths = _added(self.lengths, np.bincount(bins, minlength=len(self.lengths)))
        counts = texts.counts()
        raw = np.frombuffer(str(texts.distinct.str.join("").item()).encode(), np.uint8)
        times = np.repeat(counts, texts.distinct.str.len_bytes().to_numpy())
        self.byte_values = _added(self.byte_values, np.bincount(raw, times, minlength=256))
        marked = texts.distinct.str.contains("_", literal=True)
        some, times = texts.distinct.filter(marked), counts[marked.to_numpy()]
        self.masks.add((name, _occurrences(some, name, times)) for name in PLACEHOLDERS)
        self.months.add(_counted(reviews["date"].dt.strftime("%Y-%m")))
        self.categories.add(_counted(reviews["categories"].str.split(", ").explode()))
        self.cities.add(_counted(reviews["city"]))
        for sample, column in ((self.businesses, "business_id"), (self.users, "user_id")):
            names = reviews[column].drop_nulls().value_counts()
            sample.add_hashes(name_hashes(names[column].to_list()), names["count"].to_numpy())

    def __add__(self, other: ReviewSummary) -> ReviewSummary:
        merged: dict[str, Any] = {}
        for name, value in vars(self).items():
            its = getattr(other, name)
            merged[name] = _added(value, its) if isinstance(value, list) else value + its
        return ReviewSummary(**merged)

    @property
    def classes(self) -> dict[str, int]:
        """Characters by class, from the first byte of each; "wide" ones have four bytes, most of them are emoji."""
        counts = np.array(self.byte_values)
        letters = int(counts[65:91].sum() + counts[97:123].sum())
        digits, spaces, breaks = int(counts[48:58].sum()), int(counts[32]), int(counts[10])
        return {
            "letters a–z": letters, "digits": digits, "spaces": spaces, "line breaks": breaks,
            "other ASCII": int(counts[:128].sum()) - letters - digits - spaces - breaks,
            "beyond ASCII": int(counts[0xC0:0xF0].sum()), "wide (emoji)": int(counts[0xF0:].sum()),
        }

    def length_quantile(self, share: float) -> float:
        """Return the quantile *share* of the words per review, exact to the width of a bin (9 %)."""
        sums = np.cumsum(self.lengths)
        target = share * sums[-1]
        index = int(np.searchsorted(sums, target))
        low, high = (0, *LENGTH_EDGES, LENGTH_EDGES[-1] + 1)[index : index + 2]
        before = sums[index] - self.lengths[index]
        return low + float(target - before) / max(self.lengths[index], 1) * (high - 1 - low)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {name: value.to_dict() if hasattr(value, "to_dict") else value for name, value in vars(self).items()}


def _added(left: list[int], right: Iterable[int]) -> list[int]:
    return [int(a) + int(b) for a, b in zip(left, right, strict=True)]


def _occurrences(chunks: pl.Series, name: str, counts: np.ndarray) -> int:
    return int(chunks.str.count_matches(name, literal=True).to_numpy() @ counts)


def _counted(values: pl.Series) -> Iterator[tuple[str, int]]:
    return values.drop_nulls().value_counts().iter_rows()


@dataclass
class Profile:
    """The summary of each side: "train", "validation" and "test", or "new" for reviews without a split."""

    sides: dict[str, ReviewSummary]

    @property
    def total(self) -> ReviewSummary:
        """The summary of all sides together."""
        return reduce(lambda left, right: left + right, self.sides.values(), ReviewSummary())

    def to_json(self) -> str:
        """Return the profile as JSON."""
        sides = {name: summary.to_dict() for name, summary in self.sides.items()}
        return json.dumps({"length_edges": LENGTH_EDGES, "sides": sides}, ensure_ascii=False, separators=(",", ":"))


@dataclass
class Survey:
    """The results of one pass over the reviews: the profile, exact statistics of words, and some reviews of train."""

    profile: Profile
    words: WordStatistics
    samples: dict[int, list[str]]


def take_survey(batches: Iterable[pl.DataFrame], work: Path | None = None) -> Survey:
    """Survey reviews in one pass: profile, statistics of words and sample reviews.

    Args:
        batches: Clean reviews: `text` and, if they exist, the columns bytes, words, stars, date, split, business_id,
            user_id, categories (names joined by ", ") and city.
        work: Folder for a temporary folder with data that do not fit into memory; None: the system's folder.

    Raises:
        EmptyInput: There are no reviews.
    """
    regrouped = _growing(map(_completed, batches))
    first = next(regrouped, None)
    if first is None:
        raise EmptyInput("There are no reviews to describe", remedy="give a data set with at least one review")
    sides = (NEW,) if first["split"][0] == NEW else TRAIN_FIRST
    profile, samples = Profile({name: ReviewSummary() for name in sides}), dict[int, list[str]]()
    with WordCounts(sides, work) as counts:

        def counted(reviews: pl.DataFrame) -> tuple[pl.DataFrame, Chunks, pl.DataFrame]:
            texts = Chunks.of(reviews["text"])
            return reviews, texts, counts.count(texts, str(reviews["split"][0]), reviews["stars"])

        batches_of_side = (
            reviews for batch in chain([first], regrouped)
            for reviews in batch.partition_by("split", maintain_order=True)
        )
        for reviews, texts, counted_words in ordered(counted, batches_of_side):
            side = str(reviews["split"][0])
            profile.sides[side].add(reviews, texts)
            counts.add(counted_words)
            if side == sides[0]:
                _sample(reviews, samples)
        words, tops, types = counts.finish()
    for name, summary in profile.sides.items():
        summary.top_words, summary.types = tops[name], types[name]
    return Survey(profile, words, samples)


def _completed(batch: pl.DataFrame) -> pl.DataFrame:
    """Return the batch with all of `COLUMNS`; missing ones are counted from the text, or null."""
    batch = batch.with_columns(pl.lit(None, kind).alias(name) for name, kind in COLUMNS.items() if name not in batch)
    words = pl.col("text").str.count_matches(r"[^ \n]+") if batch["words"].null_count() else 0
    return batch.select(*COLUMNS).with_columns(
        pl.col("bytes").fill_null(pl.col("text").str.len_bytes() + 1),
        pl.col("words").cast(pl.Int64).fill_null(words),
        pl.col("split").fill_null(NEW),
        pl.col("stars").cast(pl.Int8).fill_null(0),
    )


def _growing(batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Cut the rows again so that each batch has twice the text of the one before, up to `BATCH_BYTES`.

    The small batches show the first growth of the number of words; the limit for the large ones bounds the memory.
    """
    waiting: list[pl.DataFrame] = []
    limit = room = FIRST_BYTES
    for frame in batches:
        while frame.height:
            fits = int((frame["bytes"].cast(pl.Int64).cum_sum() <= room).sum())
            here = frame.head(fits if fits or waiting else 1)
            waiting.append(here)
            room -= int(here["bytes"].sum())
            frame = frame.slice(here.height)
            if frame.height:
                yield pl.concat(waiting)
                limit = min(2 * limit, BATCH_BYTES)
                waiting, room = [], limit
    if waiting:
        yield pl.concat(waiting)


def _sample(reviews: pl.DataFrame, samples: dict[int, list[str]]) -> None:
    """Keep the first reviews of each rating that are not very short or long; the order is like a shuffle."""
    for star in range(1, 6):
        texts = samples.setdefault(star, [])
        if len(texts) < SAMPLES_PER_STAR:
            fitting = reviews.filter(pl.col("stars") == star, pl.col("words").is_between(*SAMPLE_WORDS))
            texts += fitting["text"].head(SAMPLES_PER_STAR - len(texts)).to_list()
