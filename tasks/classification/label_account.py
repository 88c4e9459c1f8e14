"""Count the labels that classifiers learn, and warn of labels that are probably one label spelt in two ways."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import polars as pl

from reviewlm.core.config.sections.other_models import ClassificationConfig
from reviewlm.corpus.account import Entry, Outcome, merge_entries
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.splitting.split import TABLE
from reviewlm.tasks.classification.labelling import LABELS_FILE, LEFT_OUT, labelling_of
from reviewlm.tasks.data.account import warn_of_oddities
from reviewlm.tasks.data.prepare import Prepared

log = logging.getLogger(__name__)
STEP = "labels"
TYPO_LETTERS = 5
"""Letters that a label has at least, if another one may be the same label with a typing error."""
TYPO_SHARE = 0.1
"""Share of the other label's reviews that the label with a typing error has at most."""


def account_for_labels(classification: ClassificationConfig, prepared: Prepared) -> list[Entry]:
    """Log how many reviews have each label, warn of similar labels, and return the entries for the account of the data.

    Args:
        classification: Names the field with the labels.
        prepared: The reviews, and their labels if they are read from a field of the files.
    """
    field = classification.label
    labels = prepared.labels
    folder = labels.folder if labels else None
    labelling = labelling_of(field, prepared.label_names, folder)
    table = pl.scan_parquet(prepared.clean.folder / TABLE).select("review_id", "stars").collect()
    numbers = labelling.numbers(table)
    counts = np.bincount(numbers[numbers != LEFT_OUT], minlength=len(labelling.names))
    counts_by_label = zip(labelling.names, counts.tolist(), strict=True)
    counted = ", ".join(f"{name!r} {count:,}" for name, count in counts_by_label)
    log.info("labels   %s: %s", field, counted)

    unlabelled = int((numbers == LEFT_OUT).sum())
    entries = [Entry(STEP, Outcome.LEFT_OUT, Kind.NO_LABEL, unlabelled)]
    if labels:
        all_labels = pl.read_parquet(labels.folder / LABELS_FILE)
        used = all_labels.join(table.select("review_id"), on="review_id", how="semi")
        entries += entries_of_similar(field, dict(used["label"].value_counts().iter_rows()))

    entries = merge_entries(entries)
    warn_of_oddities(entries)
    return entries


def entries_of_similar(field: str, counts: Mapping[str, int]) -> list[Entry]:
    """Return an entry for each pair of labels that are probably one label spelt in two ways.

    Args:
        field: The field with the labels.
        counts: Number of reviews of each label.
    """
    by_frequency = sorted(counts, key=lambda label: (-counts[label], label))
    entries: list[Entry] = []
    for label, other in combinations(by_frequency, 2):
        is_rare = counts[other] <= TYPO_SHARE * counts[label]
        similar = have_same_characters(label, other) or (
            is_rare and differ_by_one_edit(label, other)
        )
        if not similar:
            continue

        detail = (
            f"the label {other!r} of {field!r} looks like {label!r}, which {counts[label]:,} reviews have; "
            "they are two labels"
        )
        remedy = "if they are one, write them alike in the files"
        entry = Entry(
            STEP,
            Outcome.NOTED,
            Kind.LABELS_ALIKE,
            counts[other],
            detail=detail,
            remedy=remedy,
            odd=True,
            about=f"{other!r}, {label!r}",
        )
        entries.append(entry)

    return entries


def have_same_characters(one: str, other: str) -> bool:
    """Return whether two labels differ at most in case, spaces, punctuation, Unicode form, or notation of a number."""
    return _normalise(one) == _normalise(other)


def _normalise(label: str) -> str:
    """Return a label as a number in one notation, or in lower case without spaces and punctuation."""
    text = unicodedata.normalize("NFKC", label).casefold().strip()
    try:
        return repr(float(text))
    except ValueError:
        letters = re.sub(r"[\W_]+", "", text)
        return letters or text


def differ_by_one_edit(one: str, other: str) -> bool:
    """Return whether one edit makes one label the other: a letter inserted, deleted or replaced, or two swapped.

    Short labels and labels that differ in a digit ("type 1", "type 2") are never taken for each other.
    """
    if min(len(one), len(other)) < TYPO_LETTERS or abs(len(one) - len(other)) > 1:
        return False

    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1

    rest = one[start:]
    other_rest = other[start:]
    if any(character.isdigit() for character in rest[:2] + other_rest[:2]):
        return False

    inserted_or_deleted = rest[1:] == other_rest or rest == other_rest[1:]
    replaced = rest[1:] == other_rest[1:]
    swapped = rest[:2] == other_rest[1::-1] and rest[2:] == other_rest[2:]
    return inserted_or_deleted or replaced or swapped
