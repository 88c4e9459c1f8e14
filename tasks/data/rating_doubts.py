"""Say of a registered version whether the stars in its data can be trusted; without Prefect, for quick commands."""

from __future__ import annotations

from pathlib import Path

from reviewlm.core.store import Store
from reviewlm.corpus.account import ACCOUNT, entries_of
from reviewlm.corpus.account_kinds import Kind
from reviewlm.tracking.registry.versions import Version
from reviewlm.tracking.tags import DATA_TAG


def doubts_about_stars(home: Path, version: Version) -> list[str]:
    """Return a sentence if equal texts of a version's data have other ratings, as far as the store has the data."""
    digest = version.tags.get(DATA_TAG, "")
    clean = Store.of(home).find_usable("prepare", digest)
    if clean is None:
        return []
    entries = entries_of(clean.facts.get(ACCOUNT, ()))
    found = [entry for entry in entries if entry.kind is Kind.OTHER_RATINGS and entry.odd]
    return [f"The model's data have {entry.sentence}" for entry in found]
