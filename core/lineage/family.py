"""Name the data a model was trained on: a data family, and a digest of the raw files.

A figure shows how well a model predicts the text it was measured on, and nothing about other text: a model of paint
names needs fewer bits for paint names than any model of reviews does. So a version carries the *family* of its data, a
name from the configuration (`source.family`), and the gate compares only within a family. The digest of the sources
shows whether two versions of a family were made from exactly the same files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.config.sections.source import UNKNOWN

FAMILY_TAG, SOURCES_TAG = "family", "family/sources"
"""Tags of a registered version."""


@dataclass(frozen=True)
class Family:
    """The data of a version.

    Args:
        name: Name of the family.
        sources: SHA-256 of the sorted SHA-256 of all raw files; "" if they are not known.
    """

    name: str = UNKNOWN
    sources: str = ""

    @property
    def known(self) -> bool:
        """Whether the family is known."""
        return self.name != UNKNOWN

    def tags(self) -> dict[str, str]:
        """Return the tags of a version with these data."""
        return {FAMILY_TAG: self.name, SOURCES_TAG: self.sources}

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> Family:
        """Return the family in a version's tags; unknown for one that no run registered."""
        return cls(tags.get(FAMILY_TAG) or UNKNOWN, tags.get(SOURCES_TAG, ""))


def digest_of_sources(hashes: Iterable[str]) -> str:
    """Return one digest of a set of raw files from their SHA-256, independent of their order."""
    ordered = sorted(set(hashes))
    return hashlib.sha256("\n".join(ordered).encode()).hexdigest() if ordered else ""


NOT_KNOWN = Family()
