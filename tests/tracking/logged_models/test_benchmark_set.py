"""The benchmark set: frozen with its digest where the tracking server keeps files; its table of figures only grows."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from core.errors import Damaged
from tracking.logged_models.benchmark import HISTORY, BenchmarkStore, digest_of
from tracking.runs.runs import Tracker


def reviews(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({
        "review_id": [f"r{number}" for number in range(len(texts))], "text": list(texts), "stars": [5] * len(texts),
        "bytes": [len(text) + 1 for text in texts], "words": [len(text.split()) for text in texts],
    })


def row(version: int, bits: float) -> pl.DataFrame:
    return pl.DataFrame({"version": [version], "open_bits_per_byte": [bits], "lo": [bits - 0.1], "hi": [bits + 0.1]})


@pytest.fixture
def store(tracker: Tracker) -> BenchmarkStore:
    tracker.client.create_registered_model("reviewlm")
    return BenchmarkStore(tracker, "reviewlm")


def test_the_digest_is_of_ids_ratings_and_texts_whatever_their_order():
    some = reviews("good food", "cold soup")
    assert digest_of(some.reverse()) == digest_of(some)
    assert digest_of(reviews("good food", "cold soap")) != digest_of(some)


def test_what_is_frozen_first_stays_and_is_found_by_another_machine(store: BenchmarkStore, tmp_path: Path):
    assert store.find() is None
    frozen = store.freeze(reviews("good food", "cold soup"), "a file")
    assert store.freeze(reviews("something else"), "another").digest == frozen.digest
    other = Tracker(store.tracker.uri, "reviewlm", tmp_path / "other" / "mlartifacts")
    found = BenchmarkStore(other, "reviewlm").find()
    assert found is not None
    assert (found.digest, found.run_id) == (frozen.digest, frozen.run_id)
    assert found.reviews.equals(frozen.reviews)


def test_a_set_that_is_not_what_was_frozen_is_refused(store: BenchmarkStore):
    digest = store.freeze(reviews("good food", "cold soup"), "a file").digest
    [file] = store.tracker.artifact_root.rglob(f"{digest}/*.parquet")
    reviews("good food", "cold soap").write_parquet(file)
    with pytest.raises(Damaged, match="changed after it was frozen"):
        store.find()


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_named_and_fetched_again_once_it_is_deleted(store: BenchmarkStore, kept: float):
    frozen = store.freeze(reviews("good food", "cold soup"), "a file")
    [file] = store.tracker.artifact_root.rglob(f"{frozen.digest}/*.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(Damaged, match="cannot be read") as caught:
        store.find()
    assert str(file) in str(caught.value)
    file.unlink()
    found = store.find()
    assert found is not None
    assert found.reviews.equals(frozen.reviews)


def test_a_table_without_the_columns_of_reviews_is_named(store: BenchmarkStore):
    digest = store.freeze(reviews("good food"), "a file").digest
    [file] = store.tracker.artifact_root.rglob(f"{digest}/*.parquet")
    pl.DataFrame({"a": [1]}).write_parquet(file)
    with pytest.raises(Damaged, match="cannot be read"):
        store.find()


def test_figures_are_added_and_never_changed(store: BenchmarkStore):
    frozen = store.freeze(reviews("good food"), "a file")
    assert store.history(frozen).is_empty()
    store.append(frozen, row(1, 2.0))
    store.append(frozen, pl.concat([row(1, 9.0), row(4, 1.9)]))
    table = store.history(frozen)
    assert table["version"].to_list() == [1, 4]
    assert table["open_bits_per_byte"].to_list() == [2.0, 1.9]
    points = store.tracker.client.get_metric_history(frozen.run_id, "benchmark/open_bits_per_byte")
    assert [(point.step, point.value) for point in points] == [(1, 2.0), (4, 1.9)]
    assert HISTORY in {entry.path for entry in store.tracker.client.list_artifacts(frozen.run_id)}
