"""Count all words of a corpus exactly, in bounded memory.

Words are the pieces of the word unit (`models/tokens/words.py`: words, numbers, punctuation, line breaks), case folded.
So the out-of-vocabulary shares are those of a word vocabulary of the same size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import polars as pl

from corpus.profiling.sketches import Tally, TypeSample, name_hashes
from corpus.profiling.word_statistics import (
    OOV_SIZES,
    WordStatistics,
    contrast,
    heaps_points,
    out_of_vocabulary,
    zipf_points,
)
from models.tokens.chunks import Chunks
from models.tokens.type_counts import TypeCounts
from models.tokens.words import cut, folded

ENDS = {"one_star": 1, "five_stars": 5}
"""Columns and ratings of the two ends of the rating scale."""
LISTED = 10_000
"""Number of most frequent words listed for each side."""


class _Occurrences(TypeCounts):
    """The sums of counts, with the lowest batch number of each word in the column `first`.

    The sums have 32 bits, which halves the memory: enough for words that occur 4 billion times.
    """

    def _summed(self, tables: list[pl.DataFrame]) -> pl.DataFrame:
        return pl.concat(tables).group_by(self._key).agg(pl.col(*self._sums).sum(), pl.col("first").min())


class WordCounts:
    """A counter of words, batch by batch, within a `with` block.

    Args:
        sides: Names of the groups counted separately, e.g. "train", "validation", "test". Vocabularies use the first.
        work: Folder for temporary files; None: the system's folder.
    """

    def __init__(self, sides: Sequence[str], work: Path | None = None) -> None:
        self._sides, self._columns = tuple(sides), (*sides, *ENDS)
        self._table = _Occurrences("word", self._columns, work)
        self._ends: list[int] = []
        self.tokens: Counter[str] = Counter()

    def __enter__(self) -> WordCounts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._table.__exit__(kind, error, at)

    def add(self, counts: pl.DataFrame) -> None:
        """Add the counts of the next batch; each call adds a point to the curve of types over tokens."""
        self.tokens.update(counts.select(pl.col(*self._columns).sum()).to_dicts()[0])
        self._ends.append(sum(self.tokens[name] for name in self._sides))
        self._table.add(counts.with_columns(first=pl.lit(len(self._ends) - 1, pl.Int32)))

    def count(self, texts: Chunks, side: str, stars: pl.Series) -> pl.DataFrame:
        """Return the counts of each word of reviews of one side, for `add`; it changes nothing, so threads may call it.

        Reviews of one and five stars are counted separately only in the first side.
        """
        counts = dict.fromkeys(self._columns, np.zeros(len(texts.distinct), np.uint32)) | {side: texts.counts()}
        if side == self._sides[0]:
            stars_N = texts.per_chunk(stars.to_numpy())
            counts |= {name: texts.counts(stars_N == star) for name, star in ENDS.items()}
        words = pl.DataFrame({"word": cut(folded(texts.distinct, True)), **counts}).explode("word").drop_nulls("word")
        sums = pl.col(*self._columns).cast(pl.UInt32).sum()
        return words.group_by("word").agg(sums)

    def finish(self) -> tuple[WordStatistics, dict[str, Tally], dict[str, TypeSample]]:
        """Return the statistics of all words, and for each side its most frequent words and its types."""
        found = _Findings(self._sides, self.tokens)
        for table in self._table.parts():
            found.add(table)
        return found.statistics(self._ends), found.most_frequent(), found.samples


class _Findings:
    """The results collected from the tables of counts, one table at a time."""

    def __init__(self, sides: Sequence[str], tokens: Mapping[str, int]) -> None:
        self._sides, self._tokens = sides, tokens
        self._types, self._hapaxes, self._known = Counter[str](), Counter[str](), Counter[str]()
        self._spectrum, self._firsts = Counter[int](), Counter[int]()
        self._tops: dict[str, pl.DataFrame] = {}
        self._contrast = pl.DataFrame()
        self.samples = {name: TypeSample() for name in sides}

    def add(self, table: pl.DataFrame) -> None:
        """Add one table of `TypeCounts.parts`."""
        words = table.drop("first").with_columns(pl.col(*self._sides, *ENDS).cast(pl.Int64))
        hashes = name_hashes(table["word"].to_list())
        for name in self._sides:
            self._count(name, words[name])
            counts = words[name].to_numpy()
            self.samples[name].add_hashes(hashes[counts > 0], counts[counts > 0])
            seen = words.filter(pl.col(name) > 0)
            # Ties are sorted alphabetically, as in the word vocabulary.
            best = pl.concat([self._tops.get(name, seen.clear()), seen]).sort(name, "word", descending=[True, False])
            self._tops[name] = best.head(max(OOV_SIZES))
        total = words.select(pl.sum_horizontal(self._sides).alias("all")).to_series()
        self._count("all", total)
        self._spectrum.update(dict(total.value_counts().iter_rows()))
        self._firsts.update(dict(table["first"].value_counts().iter_rows()))
        base = self._sides[0]
        self._known.update(words.filter(pl.col(base) > 0).select(pl.col(*self._sides).sum()).to_dicts()[0])
        rated = words.select("word", *ENDS, prior=pl.col(base))
        sizes = [self._tokens[name] for name in (*ENDS, base)]
        candidates = [self._contrast.select(rated.columns), rated] if self._contrast.width else [rated]
        self._contrast = contrast(pl.concat(candidates), *sizes)

    def _count(self, name: str, counts: pl.Series) -> None:
        self._types[name] += int((counts > 0).sum())
        self._hapaxes[name] += int((counts == 1).sum())

    def statistics(self, ends: list[int]) -> WordStatistics:
        """Return the statistics, given the number of tokens at the end of each call of `WordCounts.add`."""
        tokens = {name: self._tokens[name] for name in self._sides}
        base, *others = self._sides
        rest = {name: tokens[name] for name in others}
        return WordStatistics(
            tokens=tokens,
            types=dict(self._types),
            hapaxes=dict(self._hapaxes),
            oov=out_of_vocabulary(self._tops[base], rest, self._known, self._types[base]),
            zipf=zipf_points(self._spectrum),
            heaps=heaps_points(ends, self._firsts),
            contrast=list(self._contrast.select("word", "z", *ENDS).iter_rows()),
        )

    def most_frequent(self) -> dict[str, Tally]:
        """Return the `LISTED` most frequent words of each side."""
        tallies = {}
        for name, top in self._tops.items():
            listed = dict(top.select("word", name).head(LISTED + 1).iter_rows())
            tallies[name] = Tally(LISTED, listed, self._tokens[name]).shortened()
        return tallies
