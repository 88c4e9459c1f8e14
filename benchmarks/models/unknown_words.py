"""Measure what unknown words cost, relative to a character unigram: within a source, and where businesses are unseen.

    python -m benchmarks.models.unknown_words FILE... --write

Each file (CSV or JSON lines with review_id, business_id and text) is split twice: by reviews, so that the held-out ones
are of the same businesses, and by businesses, so that all of their names are new. Of the training reviews a vocabulary
of words is made, as for `run --minutes`. The price is that of the letters of the held-out reviews' unknown words.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import polars as pl

from benchmarks.harness import Ratio, Report, arguments, finish, say
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.spelling import Spelling
from reviewlm.training.vocabularies.words import train_words

SIZE, LEAST_COUNT = 20_000, 3
HELD_OUT = {"validation": range(10), "test": range(10, 20)}
"""Parts of a hundred of the reviews, or of the businesses."""
GOAL = 0.62
KEYS = {"reviews": "review_id", "businesses": "business_id"}
NOTES = (
    "ratio: nats of the letters of all unknown words, divided by those of a character unigram with an end symbol, made "
    "of the training reviews' rare words. first: without the cache, as if each word stood in its text for the first time.",
    "repeated: unknown words that their review has before; rare: those that are among the training reviews' rare words.",
)


@dataclass(frozen=True)
class Unigram:
    """A character unigram of words: each word counts once; an unseen character costs log 256 a byte besides."""

    nats: dict[str, float]
    end: float
    unseen: float

    @classmethod
    def of(cls, words: Sequence[str]) -> Unigram:
        """Estimate it; characters seen once tell how many are unseen (Good 1953)."""
        counts = Counter("".join(words))
        total = counts.total() + len(words)
        unseen = (sum(count == 1 for count in counts.values()) + 1) / (total + 2)
        known = total / (1 - unseen)
        nats = {char: -math.log(count / known) for char, count in counts.items()}
        return cls(nats, -math.log(len(words) / known), -math.log(unseen))

    def price(self, word: str) -> float:
        """Return −log p(word) in nats."""
        others = {
            char: self.unseen + math.log(256) * len(char.encode())
            for char in word
            if char not in self.nats
        }
        return self.end + sum(self.nats.get(char) or others[char] for char in word)


def read_reviews(
    source: Path,
    reviews: int | None,
    key: str,
) -> pl.DataFrame:
    """Return `text` in normal form, and `part`: in which of 100 parts the review, or its business, is."""
    read = pl.read_csv if ".csv" in source.suffixes else pl.read_ndjson
    frame = read(source).select("review_id", "business_id", "text").drop_nulls()
    if reviews and reviews < len(frame):
        frame = frame.sample(reviews, seed=1)

    normal_form = NormalForm()
    parts = [crc32(str(name).encode()) % 100 for name in frame[key]]
    texts = [normal_form.apply(text) for text in frame["text"]]
    return pl.DataFrame({"text": texts, "part": parts})


def measure(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the prices of the validation and the test reviews' unknown words."""
    held_out = [part for parts in HELD_OUT.values() for part in parts]
    train = frame.filter(~pl.col("part").is_in(held_out))
    unit, _ = train_words(train["text"].to_list(), SIZE, LEAST_COUNT, True)
    unigram = Unigram.of(list(unit.spelling.rare))
    found = {}
    for name, parts in HELD_OUT.items():
        texts = frame.filter(pl.col("part").is_in(list(parts)))["text"].to_list()
        words = [unit.unknown_words(text) for text in texts]
        found[name] = {"train": len(train), "reviews": len(texts)} | price(
            unit.spelling, unigram, words
        )

    return found


def price(
    spelling: Spelling,
    unigram: Unigram,
    texts: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Return the figures of the unknown words of some texts."""
    words = [word for text in texts for word in text]
    text_U = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    cache = float(spelling.nats_of_texts(words, text_U).sum())
    first = float(replace(spelling, repeats=None).nats_of_texts(words, text_U).sum())
    characters = sum(map(unigram.price, words))
    different = sum(len(set(text)) for text in texts)
    return {
        "unknown words": len(words),
        "repeated": round(1 - different / len(words), 3),
        "rare": round(sum(word in spelling.rare for word in words) / len(words), 3),
        "nats a word": round(cache / len(words), 2),
        "ratio, first": round(first / characters, 4),
        "ratio": round(cache / characters, 4),
    }


def main() -> None:
    """Measure the prices of all files and show them."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        help="reviews as CSV or JSON lines",
    )
    parser.add_argument("--reviews", type=int, help="of each file, use so many reviews at random")
    args = parser.parse_args()
    reviews = 3_000 if args.quick else args.reviews
    found: dict[str, dict[str, Any]] = {}
    for source in args.sources:
        for split, key in KEYS.items():
            for part, row in measure(read_reviews(source, reviews, key)).items():
                found[f"{source.name.split('.')[0]}, by {split}, {part}"] = row
                say(f"{source.name}, by {split}, {part}: {row}")

    worst = max(row["ratio"] for name, row in found.items() if name.endswith("test"))
    ratios = {"unknown_words.price": Ratio(round(GOAL / worst, 3), 1.0, f"{GOAL} of a unigram")}
    title = "What unknown words cost, relative to a character unigram"
    finish(
        args,
        Report(
            "unknown-words",
            title,
            found,
            ratios,
            ("numpy", "polars"),
            NOTES,
        ),
    )


if __name__ == "__main__":
    main()
