"""Clean a batch of typed reviews: normal form, languages, ratings, split; count the reviews left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from reviewlm.core.config.sections.data import SelectionConfig
from reviewlm.corpus.cleaning.clean_account import EMPTY, Gone, language
from reviewlm.corpus.cleaning.clean_table import ROWS
from reviewlm.corpus.cleaning.normalise import count_masks, in_languages, normalise
from reviewlm.corpus.duplicates.exact import hash_texts
from reviewlm.corpus.schema import byte_count, whole_stars, word_count
from reviewlm.corpus.splitting.split import Grouping, places
from reviewlm.models.text.normal_form import NormalForm

BATCH_ROWS = 20_000
"""Number of reviews that are cleaned at a time."""
FILE = "file"
"""Column with the number of a review's file, while it is on its way to the table."""
MOST_VALUES = 10
"""Number of ratings outside 1 to 5 that are counted by their value."""


class CleanCounts:
    """Numbers of reviews that are read, left out or kept without their rating, and of masks; they add up.

    Attributes:
        gone: What was left out, by file.
    """

    def __init__(self) -> None:
        self.gone = Gone()
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(
        self,
        fact: str,
        number: int,
        value: str = "",
    ) -> None:
        """Count a fact, for one of its values if it has any."""
        self._counts[fact, value] += number

    def leave_out_empty(self, number: int, file: int) -> None:
        """Count reviews of a file without any text left."""
        self.add("empty", number)
        self.gone.add(EMPTY, file, number)

    def leave_out_language(
        self,
        code: str,
        number: int,
        file: int,
    ) -> None:
        """Count reviews of a file in a language that is not selected."""
        self.add("languages", number, code)
        self.gone.add(language(code), file, number)

    def update(self, other: CleanCounts) -> None:
        """Add the numbers of other reviews."""
        self._counts.update(other._counts)
        self.gone.counts.update(other.gone.counts)

    def number(self, fact: str) -> int:
        """Return how often a fact was counted, for all its values."""
        return sum(self.values(fact).values())

    def values(self, fact: str) -> dict[str, int]:
        """Return how often each value of a fact was counted."""
        return {value: number for (name, value), number in self._counts.items() if name == fact}

    def facts(self) -> dict[str, Any]:
        """Return the facts of `prepare` about reviews that were left out for what they are, masks and ratings."""
        unrated = dict(sorted(self.values("unrated").items(), key=lambda item: (-item[1], item[0])))
        others = sum(list(unrated.values())[MOST_VALUES:])
        listed = dict(list(unrated.items())[:MOST_VALUES])
        if others:
            listed["others"] = others

        facts: dict[str, Any] = {"empty": self.number("empty")}
        for name in ("languages", "masks"):
            facts[name] = dict(sorted(self.values(name).items()))

        facts["unrated"] = listed
        return facts


def batches_of(part: pl.DataFrame, file: int) -> Iterator[pl.DataFrame]:
    """Yield the reviews of a part of a file in batches, with the number of the file in the column `FILE`."""
    number = pl.lit(file, pl.UInt32).alias(FILE)
    for batch in part.iter_slices(BATCH_ROWS):
        yield batch.with_columns(number)


@dataclass(frozen=True)
class Cleaning:
    """The rules of one preparation for single reviews.

    Args:
        form: The normal form.
        grouping: The split of a review.
        selection: Languages that stay.
    """

    form: NormalForm
    grouping: Grouping
    selection: SelectionConfig

    def __call__(self, batch: pl.DataFrame) -> tuple[pl.DataFrame, CleanCounts]:
        """Return the reviews that are used, with the columns `ROWS`, `FILE` and the keys of slices, and counts.

        Args:
            batch: Typed reviews of one file, with its number in the column `FILE`.
        """
        file = batch[FILE][0]
        frame = batch.with_columns(normalise(batch["text"], self.form).alias("text"))
        some = frame.filter(pl.col("text") != "")
        counts = CleanCounts()
        counts.add("read", batch.height)
        counts.leave_out_empty(batch.height - some.height, file)
        if self.form.mask_personal_data:
            before = count_masks(batch["text"])
            for name, number in count_masks(frame["text"]).items():
                counts.add("masks", number - before[name], name)

        some = some.with_columns(bytes=byte_count(), words=word_count())
        some, languages = in_languages(some, self.selection)
        for code, number in languages.items():
            counts.leave_out_language(code, number, file)

        unrated = some.filter(pl.col("stars").is_not_null() & (whole_stars() == 0))["stars"]
        for value in unrated:
            counts.add("unrated", 1, f"{value:g}")

        some = some.with_columns(stars=whole_stars())
        counts.add("without_key", self.grouping.without_key(some))
        place = places(some["review_id"], self.grouping.config.salt)
        rows = some.select(*ROWS, FILE).with_columns(
            place, self.grouping.ranks(some, place), *hash_texts(some["text"])
        )
        return rows, counts
