"""Tell which reviews of a data set a model's data had already: by id and by content.

An id alone does not say it. A platform lets authors edit their reviews, an export may number its reviews anew, and a
file may be written again with other ids. So a review is known if its id is known *with this text*, or if its text is.
Texts are compared as they were read and, where these differ, in normal form: a file that was only exported in another
way (`&amp;` for `&`) has the same reviews.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.cleaning.normalise import normalise
from reviewlm.corpus.duplicates.near import similarities
from reviewlm.corpus.ingestion.parts import part_files
from reviewlm.corpus.schema import whole_stars, word_count
from reviewlm.corpus.splitting.split import TABLE
from reviewlm.models.text.normal_form import NormalForm

COLUMNS = ("review_id", "text", "stars")
TELLING = 16
"""Words of a text that is hardly written twice. Of 116,253 reviews of the Chicago crawl, 14 repeat a text."""


class Standing(IntEnum):
    """Whether a review, or an earlier form of it, is in a model's data."""

    KNOWN = 0
    """The same text under the same id."""
    NEW = 1
    """Neither the id nor the text."""
    EDITED = 2
    """The id with another text."""
    RERATED = 3
    """The id with the same text and another rating."""
    RENAMED = 4
    """The text under another id: ids were given anew, or a file was sorted that numbers its reviews.

    Only of texts with `TELLING` words: two people write "Great food!"."""

    @property
    def kind(self) -> Kind:
        """The kind of an entry about known reviews that came back in another state."""
        return {
            Standing.EDITED: Kind.KNOWN_EDITED,
            Standing.RERATED: Kind.KNOWN_RERATED,
            Standing.RENAMED: Kind.KNOWN_RENAMED,
        }[self]


UNLEARNT = (Standing.NEW, Standing.EDITED)
"""Standings of reviews whose text a model has not learnt."""

RESTATED = (Standing.EDITED, Standing.RERATED, Standing.RENAMED)
"""Standings of reviews that a file states anew."""

_REMEDIES = {
    Standing.EDITED: "if the authors edited them, train again; if the ids begin anew in each file, these are other "
    "reviews: --set source.ids=per_file",
    Standing.RERATED: "if the authors rated anew, train again; else see whether the file has another scale of ratings",
    Standing.RENAMED: "give the same reviews the ids that they had, or leave one of the files out",
}


@dataclass(frozen=True)
class Hashes:
    """Hashes of N reviews, in the order of their ids; they are valid in this process only.

    Args:
        ids: (N,) UInt64, ascending.
        texts: (N,) UInt64.
        stars: (N,) Int8: ratings, see `reviewlm.corpus.schema.whole_stars`.
    """

    ids: np.ndarray
    texts: np.ndarray
    stars: np.ndarray

    @classmethod
    def of(cls, files: Sequence[Path]) -> Hashes:
        """Return the hashes of the reviews in Parquet files."""
        none = pl.LazyFrame(
            schema={
                "id": pl.UInt64(),
                "text": pl.UInt64(),
                "stars": pl.Int8(),
            }
        )
        scans = [pl.scan_parquet(file).select(*hashes()) for file in files]
        table = pl.concat([none, *scans]).collect(engine="streaming").sort("id")
        return cls(*(table[name].to_numpy() for name in table.columns))

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Return where each id is (M,); -1: nowhere."""
        if not len(self.ids):
            return np.full(len(ids), -1)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, place, -1)

    def have_texts(self, texts: np.ndarray) -> np.ndarray:
        """Return which texts (M,) are among those of the reviews, under whatever id."""
        if not len(self.ids):
            return np.zeros(len(texts), bool)
        place = np.minimum(np.searchsorted(self._sorted_texts, texts), len(self.ids) - 1)
        return self._sorted_texts[place] == texts

    @cached_property
    def _sorted_texts(self) -> np.ndarray:
        return np.sort(self.texts)


def hashes() -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return the columns of `Hashes` for a table with the columns `COLUMNS`."""
    return (
        pl.col("review_id").hash(seed=1).alias("id"),
        pl.col("text").hash(seed=1),
        whole_stars().alias("stars"),
    )


class KnownReviews:
    """The reviews of a model's data.

    Args:
        clean_folder: Folder of the prepared data.
        dataset_folder: Folder of the data set that these were prepared from. Reviews that were left out there, such as
            duplicates, are known too. None: it is not there any more.
        form: The normal form of the prepared data.
    """

    def __init__(
        self,
        clean_folder: Path,
        dataset_folder: Path | None,
        form: NormalForm,
    ) -> None:
        self.clean_file = clean_folder / TABLE
        if dataset_folder:
            self.read_files = part_files(dataset_folder)
        else:
            self.read_files = []

        self.form = form
        self.read = Hashes.of(self.read_files)
        self.clean = Hashes.of([self.clean_file])

    def compare(self, dataset_folder: Path) -> Standings:
        """Return the standing of each review of a data set."""
        standings: list[np.ndarray] = []
        examples: dict[Standing, str] = {}

        for file in part_files(dataset_folder):
            part = pl.read_parquet(file, columns=list(COLUMNS))
            standing = self.standings(part)
            standings.append(standing)
            for kind in set(RESTATED) - set(examples):
                rows = np.flatnonzero(standing == kind)
                if len(rows):
                    examples[kind] = part["review_id"][int(rows[0])]

        return Standings(tuple(standings), examples)

    def standings(self, reviews: pl.DataFrame) -> np.ndarray:
        """Return the `Standing` (N,) UInt8 of reviews with the columns `COLUMNS`."""
        standing = np.full(reviews.height, Standing.NEW, np.uint8)
        _compare(standing, self.read, reviews)

        open_rows = np.flatnonzero(np.isin(standing, UNLEARNT))
        some = reviews[open_rows]
        in_form = some.with_columns(normalise(some["text"], self.form).alias("text"))
        found = standing[open_rows]
        _compare(found, self.clean, in_form)
        standing[open_rows] = found
        return standing

    def without_reworded(
        self,
        batch: pl.DataFrame,
        similarity: float,
        shingle: int,
    ) -> pl.DataFrame:
        """Return the reviews of a batch that are no near-duplicates of the known texts under their ids.

        Args:
            batch: Columns review_id and text, in normal form; few enough to be compared in memory.
            similarity: Least Jaccard similarity of near-duplicates.
            shingle: Number of words in a shingle.
        """
        wanted = pl.col("review_id").is_in(batch["review_id"].implode())
        files = self.read_files or [self.clean_file]
        earlier = pl.concat(
            [pl.scan_parquet(file).select("review_id", "text").filter(wanted) for file in files]
        ).collect(engine="streaming")
        earlier = earlier.select(
            "review_id", normalise(earlier["text"], self.form).alias("earlier")
        ).unique("review_id")

        both = batch.select("review_id", "text").join(earlier, on="review_id")
        near = similarities(both["text"], both["earlier"], shingle) >= similarity
        return batch.filter(~pl.col("review_id").is_in(both["review_id"].filter(near).implode()))


def _compare(
    standing: np.ndarray,
    known: Hashes,
    reviews: pl.DataFrame,
) -> None:
    """Write the standing of those reviews whose id or text is among the known ones."""
    hashed = reviews.select(*hashes())
    ids, texts, stars = (hashed[name].to_numpy() for name in hashed.columns)
    place = known.find(ids)
    has_id = place >= 0

    same_text = np.zeros(len(ids), bool)
    same_text[has_id] = known.texts[place[has_id]] == texts[has_id]
    same_stars = np.zeros(len(ids), bool)
    same_stars[has_id] = known.stars[place[has_id]] == stars[has_id]

    standing[has_id & ~same_text] = Standing.EDITED
    standing[has_id & same_text] = Standing.KNOWN
    standing[has_id & same_text & ~same_stars] = Standing.RERATED
    telling = reviews.select(word_count() >= TELLING).to_series().to_numpy()
    standing[np.isin(standing, UNLEARNT) & telling & known.have_texts(texts)] = Standing.RENAMED


@dataclass(frozen=True)
class Standings:
    """Comparison of the reviews of a data set with a model's data.

    Args:
        parts: The `Standing` (N,) of the reviews of each part, in order.
        examples: The id of the first review of each standing of `RESTATED`.
    """

    parts: tuple[np.ndarray, ...] = field(repr=False)
    examples: dict[Standing, str]

    @cached_property
    def counts(self) -> dict[Standing, int]:
        """Number of reviews by standing."""
        totals = np.zeros(len(Standing), np.int64)
        for part in self.parts:
            totals = totals + np.bincount(part, minlength=len(Standing))

        return {kind: int(totals[kind]) for kind in Standing}

    @property
    def unlearnt(self) -> int:
        """Number of reviews whose text is not known."""
        return sum(self.counts[kind] for kind in UNLEARNT)

    @property
    def sentence(self) -> str:
        """How many reviews are stated anew, in words; empty if none is."""
        there = [kind for kind in RESTATED if self.counts[kind]]
        return ", ".join(f"{self.counts[kind]:,} {kind.kind}" for kind in there)

    def entries(self, step: str) -> list[Entry]:
        """Return the entries about odd reviews, for the account of a step."""
        entries = []
        for kind in RESTATED:
            count = self.counts[kind]
            if count:
                detail = f"{kind.kind}, such as {self.examples[kind]!r}"
                remedy = _REMEDIES[kind]
                entry = Entry(
                    step,
                    Outcome.NOTED,
                    kind.kind,
                    count,
                    detail=detail,
                    remedy=remedy,
                    odd=True,
                )
                entries.append(entry)

        return entries

    def masks(self, kinds: Iterable[Standing]) -> list[np.ndarray]:
        """Return, for each part, which reviews have one of the standings."""
        return [np.isin(part, list(kinds)) for part in self.parts]
