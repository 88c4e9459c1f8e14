"""Write the entries of the stage *prepare* for the account of the data, from what its steps have counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.cleaning.ratings import OtherRatings
from reviewlm.corpus.duplicates.exact import LEARNT, REASONS, STAYS
from reviewlm.corpus.splitting.shares import Shares

STEP = "prepare"


class Left(NamedTuple):
    """Outcome, kind and detail of an entry of the account about reviews that are not used."""

    outcome: Outcome
    kind: Kind
    about: str = ""


COPIES = {
    "of_test": (Outcome.LEFT_OUT, Kind.IN_TEST),
    "of_validation": (Outcome.LEFT_OUT, Kind.IN_VALIDATION),
    "of_train": (Outcome.COPY, Kind.SAME_TEXT),
    "near_test": (Outcome.LEFT_OUT, Kind.NEARLY_IN_TEST),
    "near_validation": (Outcome.LEFT_OUT, Kind.NEARLY_IN_VALIDATION),
    "covered": (Outcome.LEFT_OUT, Kind.COVERED),
    "crowd": (Outcome.LEFT_OUT, Kind.MORE_ALIKE),
}
"""What became of a review of a split, and why, by the reason of `corpus.duplicates.exact.LEAVES`."""
EMPTY = Left(Outcome.LEFT_OUT, Kind.EMPTY_TEXT)
MOST_SHOWN = 80
"""Characters of a text that an entry shows."""


def excerpt(text: str) -> str:
    """Return the beginning of a text in one line, in quotation marks."""
    line = " ".join(text.split())
    return repr(line if len(line) <= MOST_SHOWN else f"{line[: MOST_SHOWN - 1]}…")


def language(code: str) -> Left:
    """Return the entry of the reviews in a language that is not selected."""
    return Left(Outcome.LEFT_OUT, Kind.OTHER_LANGUAGE, code)


def learnt_text(split: str) -> Left:
    """Return the entry of the held-out reviews that start weights have learnt from."""
    return Left(Outcome.LEFT_OUT, Kind.LEARNT, split)


class Gone:
    """The reviews that are not used, by what became of them and by the number of their file.

    Attributes:
        counts: Numbers of reviews.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[Left, int]] = Counter()

    def add(
        self,
        left: Left,
        file: int,
        count: int,
    ) -> None:
        """Add reviews of one file."""
        self.counts[left, file] += count

    def add_all(self, left: Left, file_N: np.ndarray) -> None:
        """Add reviews of several files, by the number of the file of each."""
        for file, count in zip(*np.unique(file_N, return_counts=True), strict=True):
            self.add(left, int(file), int(count))

    def add_codes(
        self,
        split: str,
        code_N: np.ndarray,
        file_N: np.ndarray,
    ) -> None:
        """Add the reviews of a split that have a code of `corpus.duplicates.exact` other than `STAYS`."""
        gone_N = code_N != STAYS
        for code in np.unique(code_N[gone_N]):
            self.add_all(_left_for(split, int(code)), file_N[code_N == code])


def _left_for(split: str, code: int) -> Left:
    if code == LEARNT:
        return Left(Outcome.LEFT_OUT, Kind.LEARNT_PASSAGES, split)
    outcome, kind = COPIES[REASONS[code - 1]]
    return Left(outcome, kind, split)


def entries_of_gone(gone: Gone, files: Sequence[str]) -> list[Entry]:
    """Return the entries about reviews that are not used, for each file.

    Args:
        files: Name of each file by its number.
    """
    entries = []
    for (left, file), count in sorted(gone.counts.items()):
        entries.append(
            Entry(
                STEP,
                left.outcome,
                left.kind,
                count,
                files[file],
                about=left.about,
            )
        )

    return entries


def entry_of_unrated(unrated: Mapping[str, int]) -> Entry:
    """Return the entry about ratings that were taken as unknown; *unrated*: reviews by their stars."""
    values = ", ".join(f"{value} ({count:,})" for value, count in unrated.items())
    return Entry(
        STEP,
        Outcome.REPAIRED,
        Kind.OFF_SCALE,
        sum(unrated.values()),
        detail=f"kept without a rating, for their stars are not 1, 2, 3, 4 or 5 but {values}",
        remedy="if the scale is another one, convert it first",
        odd=True,
    )


def entry_of_keys(
    without_key: int,
    key: str,
    fate: str,
) -> Entry:
    """Return the entry about reviews without the id or date that should decide their split."""
    return Entry(
        STEP,
        Outcome.NOTED,
        Kind.NO_SPLIT_KEY,
        without_key,
        detail=f"without {key}: they {fate}",
        remedy="add it to the file, or choose another split.by",
        odd=True,
        about=key,
    )


def entries_of_shares(shares: Shares, remedy: str) -> list[Entry]:
    """Return the entries about splits that are far from their shares, and about a group too large for a split."""
    missed = [abs(shares.reached[split] - shares.asked[split]) for split in shares.far]
    far_from_share = Entry(
        STEP,
        Outcome.NOTED,
        Kind.FAR_FROM_SHARE,
        round(sum(missed) * shares.reviews),
        detail=shares.sentence,
        remedy=remedy,
        odd=True,
        about=", ".join(shares.far),
    )
    group = shares.largest
    if group is None or group.share <= shares.smallest_asked:
        return [far_from_share]

    detail = f"{group.share:.0%} of the reviews are of one group, {group.name!r}, and all in {group.split}"
    large_group = Entry(
        STEP,
        Outcome.NOTED,
        Kind.LARGE_GROUP,
        group.reviews,
        detail=detail,
        remedy=remedy,
        odd=True,
    )
    return [far_from_share, large_group]


def entry_of_crowd(
    reviews: int,
    share: float,
    text: str,
) -> Entry:
    """Return the entry about a crowd of copies of one text."""
    return Entry(
        STEP,
        Outcome.NOTED,
        Kind.CROWD,
        reviews,
        detail=f"{share:.1%} of the reviews have nearly the same text, such as {excerpt(text)}",
        remedy="look where they come from; duplicates.max_alike says how many may stay in a split",
        odd=True,
        about=excerpt(text),
    )


def entry_of_ratings(found: OtherRatings) -> Entry:
    """Return the entry about equal texts with other ratings."""
    ratings = " and ".join(str(rating) for rating in found.ratings)
    example = f"{excerpt(found.text)} with {ratings} stars"
    return Entry(
        STEP,
        Outcome.NOTED,
        Kind.OTHER_RATINGS,
        found.reviews,
        detail=f"equal texts with other ratings, such as {example}",
        remedy="what depends on the stars can be no better than they are: see where the ratings come from",
        odd=found.odd,
    )
