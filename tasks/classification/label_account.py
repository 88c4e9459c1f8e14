"""Account for the labels that classifiers learn: how many reviews have each, which look alike, what is left out."""

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
TYPO_SHARE = 0.1
"""Two labels of so many letters may be one with a typing error, if so few reviews have the other one."""


def account_for_labels(classification: ClassificationConfig, prepared: Prepared) -> list[Entry]:
    """Log how many reviews have each label, warn of labels that look alike, and return the entries of the account."""
    field = classification.label
    labels = prepared.labels
    folder = labels.folder if labels else None
    labelling = labelling_of(field, prepared.label_names, folder)
    table = pl.scan_parquet(prepared.clean.folder / TABLE).select("review_id", "stars").collect()
    numbers = labelling.numbers(table)
    counts = np.bincount(numbers[numbers != LEFT_OUT], minlength=len(labelling.names))
    by_label = zip(labelling.names, counts.tolist(), strict=True)
    counted = ", ".join(f"{name!r} {count:,}" for name, count in by_label)
    log.info("labels   %s: %s", field, counted)

    without = int((numbers == LEFT_OUT).sum())
    entries = [Entry(STEP, Outcome.LEFT_OUT, Kind.NO_LABEL, without)]
    if labels:
        every = pl.read_parquet(labels.folder / LABELS_FILE)
        every = every.join(table.select("review_id"), on="review_id", how="semi")
        found = every["label"].value_counts().iter_rows()
        entries += entries_of_alike(field, dict(found))

    entries = merge_entries(entries)
    warn_of_oddities(entries)
    return entries


def entries_of_alike(field: str, counts: Mapping[str, int]) -> list[Entry]:
    """Return an entry for each two labels that look alike.

    Args:
        field: The field that the labels are values of.
        counts: Number of reviews by label.
    """
    order = sorted(counts, key=lambda label: (-counts[label], label))
    entries: list[Entry] = []
    for label, other in combinations(order, 2):
        is_rare = counts[other] <= TYPO_SHARE * counts[label]
        alike = look_alike(label, other) or (is_rare and may_be_typo(label, other))
        if not alike:
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


def look_alike(one: str, other: str) -> bool:
    """Return whether two labels differ only in case, spaces, punctuation, forms of characters or of a number."""
    return _plain(one) == _plain(other)


def _plain(label: str) -> str:
    text = unicodedata.normalize("NFKC", label).casefold().strip()
    try:
        return repr(float(text))
    except ValueError:
        signs = re.sub(r"[\W_]+", "", text)
        return signs or text


def may_be_typo(one: str, other: str) -> bool:
    """Return whether one letter more, less or other, or two exchanged ones, make one label the other."""
    if min(len(one), len(other)) < TYPO_LETTERS or abs(len(one) - len(other)) > 1:
        return False

    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1

    rest = one[start:]
    other_rest = other[start:]
    changed = rest[:2] + other_rest[:2]
    if any(sign.isdigit() for sign in changed):
        return False  # "type 1" and "type 2"

    if rest[1:] == other_rest or rest == other_rest[1:]:
        return True  # a letter more or less
    if rest[1:] == other_rest[1:]:
        return True  # another letter
    exchanged = rest[:2] == other_rest[1::-1]
    return exchanged and rest[2:] == other_rest[2:]
