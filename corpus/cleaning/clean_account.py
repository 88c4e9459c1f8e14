"""Write the entries of the stage *prepare* for the account of the data, from what its steps have counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from reviewlm.corpus.account import OTHER_RATINGS, Entry, Outcome
from reviewlm.corpus.cleaning.ratings import OtherRatings
from reviewlm.corpus.duplicates.exact import LEARNT, REASONS, STAYS
from reviewlm.corpus.splitting.shares import Shares

STEP = "prepare"
Left = tuple[Outcome, str]
"""What became of reviews that are not used, and the reason in words."""
COPIES = {
    "of_test": (Outcome.LEFT_OUT, "same text in test"),
    "of_validation": (Outcome.LEFT_OUT, "same text in validation"),
    "of_train": (Outcome.COPY, "same text"),
    "near_test": (Outcome.LEFT_OUT, "nearly the same text in test"),
    "near_validation": (Outcome.LEFT_OUT, "nearly the same text in validation"),
    "covered": (Outcome.LEFT_OUT, "covered by passages of train"),
    "crowd": (Outcome.LEFT_OUT, "more copies of a text than duplicates.max_alike allows"),
}
"""What became of a review of a split, and why, by the reason of `corpus.duplicates.exact.LEAVES`."""
LEARNT_BEFORE = {
    "exact": "same text in what the start weights have learnt from",
    "covered": "covered by passages of what the start weights have learnt from",
}
MOST_SHOWN = 80
"""Characters of a text that an entry shows."""


def excerpt(text: str) -> str:
    """Return the beginning of a text in one line, in quotation marks."""
    line = " ".join(text.split())
    return repr(line if len(line) <= MOST_SHOWN else f"{line[: MOST_SHOWN - 1]}…")


EMPTY: Left = (Outcome.LEFT_OUT, "empty text")


def language(code: str) -> Left:
    """Return the entry of the reviews in a language that is not selected."""
    return Outcome.LEFT_OUT, f"language {code}"


def learnt_text(split: str) -> Left:
    """Return the entry of the held-out reviews that start weights have learnt from."""
    return Outcome.LEFT_OUT, f"{split}: {LEARNT_BEFORE['exact']}"


class Gone:
    """The reviews that are not used, by what became of them and by the number of their file.

    Attributes:
        counts: Numbers of reviews.
    """

    def __init__(self) -> None:
        self.counts: Counter[tuple[Left, int]] = Counter()

    def add(self, left: Left, file: int, count: int) -> None:
        """Add reviews of one file."""
        self.counts[left, file] += count

    def add_all(self, left: Left, file_N: np.ndarray) -> None:
        """Add reviews of several files, by the number of the file of each."""
        for file, count in zip(*np.unique(file_N, return_counts=True), strict=True):
            self.add(left, int(file), int(count))

    def add_codes(self, split: str, code_N: np.ndarray, file_N: np.ndarray) -> None:
        """Add the reviews of a split that have a code of `corpus.duplicates.exact` other than `STAYS`."""
        gone_N = code_N != STAYS
        for code in np.unique(code_N[gone_N]):
            self.add_all(_left_for(split, int(code)), file_N[code_N == code])


def _left_for(split: str, code: int) -> Left:
    if code == LEARNT:
        return Outcome.LEFT_OUT, f"{split}: {LEARNT_BEFORE['covered']}"
    outcome, kind = COPIES[REASONS[code - 1]]
    return outcome, f"{split}: {kind}"


def entries_of_gone(gone: Gone, files: Sequence[str]) -> list[Entry]:
    """Return the entries about reviews that are not used, for each file.

    Args:
        files: Name of each file by its number.
    """
    entries = []
    for (reason, file), count in sorted(gone.counts.items()):
        outcome, kind = reason
        entries.append(Entry(STEP, outcome, kind, count, files[file]))

    return entries


def entry_of_unrated(unrated: Mapping[str, int]) -> Entry:
    """Return the entry about ratings that were taken as unknown; *unrated*: reviews by their stars."""
    values = ", ".join(f"{value} ({count:,})" for value, count in unrated.items())
    return Entry(
        STEP,
        Outcome.REPAIRED,
        "rating off the scale",
        sum(unrated.values()),
        detail=f"kept without a rating, for their stars are not 1, 2, 3, 4 or 5 but {values}",
        remedy="if the scale is another one, convert it first",
        odd=True,
    )


def entry_of_keys(without_key: int, key: str, fate: str) -> Entry:
    """Return the entry about reviews without the id or date that should decide their split."""
    return Entry(
        STEP,
        Outcome.NOTED,
        f"no {key} to split by",
        without_key,
        detail=f"without {key}: they {fate}",
        remedy="add it to the file, or choose another split.by",
        odd=True,
    )


def entries_of_shares(shares: Shares, remedy: str) -> list[Entry]:
    """Return the entries about splits that are far from their shares, and about a group too large for a split."""
    missed = [abs(shares.reached[split] - shares.asked[split]) for split in shares.far]
    entries = [
        Entry(
            STEP,
            Outcome.NOTED,
            f"far from its share: {', '.join(shares.far)}",
            round(sum(missed) * shares.reviews),
            detail=shares.sentence,
            remedy=remedy,
            odd=True,
        )
    ]
    group = shares.largest
    if group and group.share > shares.smallest_asked:
        entries.append(
            Entry(
                STEP,
                Outcome.NOTED,
                "one group is larger than a split",
                group.reviews,
                detail=f"{group.share:.0%} of the reviews are of one group, {group.name!r}, and all in {group.split}",
                remedy=remedy,
                odd=True,
            )
        )

    return entries


def entry_of_crowd(reviews: int, share: float, text: str) -> Entry:
    """Return the entry about a crowd of copies of one text."""
    return Entry(
        STEP,
        Outcome.NOTED,
        f"a crowd of copies of {excerpt(text)}",
        reviews,
        detail=f"{share:.1%} of the reviews have nearly the same text, such as {excerpt(text)}",
        remedy="look where they come from; duplicates.max_alike says how many may stay in a split",
        odd=True,
    )


def entry_of_ratings(found: OtherRatings) -> Entry:
    """Return the entry about equal texts with other ratings."""
    ratings = " and ".join(str(rating) for rating in found.ratings)
    return Entry(
        STEP,
        Outcome.NOTED,
        OTHER_RATINGS,
        found.reviews,
        detail=f"equal texts with other ratings, such as {excerpt(found.text)} with {ratings} stars",
        remedy="what depends on the stars can be no better than they are: see where the ratings come from",
        odd=found.odd,
    )
