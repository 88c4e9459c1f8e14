"""Which reviews are news to the champion: those that its data set did not have, whatever became of them in it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.ingestion.parts import PARTS
from reviewlm.tasks.data.drift import _count_new, known_ids


def data_set(store: Store, *ids: str) -> Artifact:
    """An ingested data set of two parts."""

    def make(work: Path) -> dict[str, int]:
        (work / PARTS).mkdir()
        for number, some in enumerate((ids[:2], ids[2:])):
            pl.DataFrame({"review_id": some}).write_parquet(
                work / PARTS / f"part-{number:05d}.parquet"
            )
        return {}

    return store.build("ingest", 1, {}, {"file": ",".join(ids)}, make).artifact


def prepared(store: Store, dataset: str, *ids: str) -> Artifact:
    """What was kept of a data set."""

    def make(work: Path) -> dict[str, int]:
        pl.DataFrame({"review_id": ids}).write_parquet(work / "clean.parquet")
        return {}

    return store.build("prepare", 1, {}, {"dataset": dataset}, make).artifact


def test_reviews_that_were_set_aside_are_no_news(tmp_path):
    store = Store(tmp_path)
    before = data_set(store, "a", "b", "duplicate", "foreign")
    seen = known_ids(store, prepared(store, before.digest, "a", "b"))
    assert _count_new(before, seen) == 0
    assert _count_new(data_set(store, "a", "b", "duplicate", "foreign", "c"), seen) == 1
