"""Write the entries of the stage *prepare* for the account of the data, from what its steps have counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reviewlm.corpus.account import OTHER_RATINGS, Entry, Outcome
from reviewlm.corpus.cleaning.ratings import OtherRatings
from reviewlm.corpus.splitting.shares import Shares

STEP = "prepare"
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
LEARNT = {
    "exact": "same text in what the start weights have learnt from",
    "covered": "covered by passages of what the start weights have learnt from",
}
MOST_SHOWN = 80
"""Characters of a text that an entry shows."""


def excerpt(text: str) -> str:
    """Return the beginning of a text in one line, in quotation marks."""
    line = " ".join(text.split())
    return repr(line if len(line) <= MOST_SHOWN else f"{line[: MOST_SHOWN - 1]}…")


def entries_of_facts(facts: Mapping[str, Any]) -> list[Entry]:
    """Return the entries about reviews that were left out, and about values that were taken as unknown.

    Args:
        facts: `empty`, `languages`, `duplicates`, `learnt` and `unrated` of `corpus.cleaning.clean.prepare`.
    """
    entries = [Entry(STEP, Outcome.LEFT_OUT, "empty text", facts["empty"])]
    entries += [
        Entry(STEP, Outcome.LEFT_OUT, f"language {code}", count)
        for code, count in facts["languages"].items()
    ]
    for split, reasons in facts["duplicates"].items():
        for reason, count in reasons.items():
            outcome, kind = COPIES[reason]
            entries.append(Entry(STEP, outcome, f"{split}: {kind}", count))

    for split, reasons in facts.get("learnt", {}).items():
        for reason, count in reasons.items():
            kind = f"{split}: {LEARNT[reason]}"
            entries.append(Entry(STEP, Outcome.LEFT_OUT, kind, count))

    return [*entries, _unrated(facts["unrated"])]


def _unrated(unrated: Mapping[str, int]) -> Entry:
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
