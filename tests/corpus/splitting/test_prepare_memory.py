"""What is held in memory for each review while a data set is prepared."""

import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow
import pytest

from core.config.sections.data import SplitConfig
from corpus.cleaning.external_sort import ORDER, Slices, regrouped
from corpus.duplicates.exact import ExactDuplicates
from corpus.splitting.grouping import Grouping
from corpus.splitting.split import iter_split, places

ROWS = 200_000
FIXED = 1 << 20
"""What does not grow with the rows."""


def keyed(rows, config, texts=1 << 62):
    """Rows as they come from cleaning, and slices for them."""
    text = np.random.default_rng(1).integers(0, texts, rows, dtype=np.uint64)
    frame = pl.DataFrame({"review_id": [f"r{number}" for number in range(rows)], "text_high": text, "text_low": text})
    frame = frame.with_columns(places(frame["review_id"], config.salt), user_id=pl.format("u{}", "review_id"))
    grouping = Grouping(config, Path())
    return frame.with_columns(grouping.ranks(frame, frame["place"])), partial(
        Slices, shares=grouping.shares, ranges=grouping.ranges
    )


@pytest.fixture(scope="module")
def compiled():
    """Import numba and compile the kernels before memory is measured."""
    ExactDuplicates(np.arange(4, dtype=np.uint64), np.arange(4, dtype=np.uint64), (1, 2))


@pytest.fixture
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("texts", [1 << 62, 1000, 1])
def test_finding_repeated_texts_takes_forty_bytes_a_review(compiled, traced, texts):
    high = np.random.default_rng(1).integers(0, texts, ROWS, dtype=np.uint64)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    found = ExactDuplicates(high, high.copy(), (ROWS // 10, ROWS // 5))
    now, peak = tracemalloc.get_traced_memory()
    assert peak - before < 40 * ROWS + FIXED
    assert now - before < 6 * ROWS + FIXED
    assert len(found.code) == ROWS


@pytest.mark.slow
def test_slices_hold_the_keys_of_a_review_and_nothing_else(traced, tmp_path):
    frame, make = keyed(ROWS, SplitConfig())
    slices = make(tmp_path, 8)
    before = tracemalloc.get_traced_memory()[0]
    for batch in frame.iter_slices(20_000):
        slices.add(batch)
    assert tracemalloc.get_traced_memory()[0] - before < 26 * ROWS + FIXED
    tracemalloc.reset_peak()
    slices.text_hashes()
    now, peak = tracemalloc.get_traced_memory()
    assert peak - before < 48 * ROWS + FIXED
    assert now - before < FIXED


@pytest.mark.slow
@pytest.mark.parametrize("by", ["review", "user"])
@pytest.mark.parametrize("test", [0.1, 0.45])
def test_slices_give_all_rows_in_order_in_pieces_of_about_one_size(tmp_path, by, test):
    frame, make = keyed(20_000, SplitConfig(by=by, test=test), texts=500)
    slices = make(tmp_path, 10)
    for batch in frame.iter_slices(777):
        slices.add(batch)
    high, low, bounds = slices.text_hashes()
    parts = list(slices)
    whole = pl.concat(parts)
    assert whole.equals(frame.sort("rank", *ORDER))
    assert np.array_equal(high, whole["text_high"].to_numpy())
    assert np.array_equal(low, whole["text_low"].to_numpy())
    assert bounds == (int((frame["rank"] < 1).sum()), int((frame["rank"] < 2).sum()))
    assert all(part["rank"].n_unique() == 1 for part in parts)
    assert max(part.height for part in parts) < 1.1 * 20_000 / 10


def test_reading_a_split_holds_a_row_group_and_not_the_file(tmp_path):
    random = np.random.default_rng(1)
    texts = [random.bytes(400).hex() for _ in range(20_000)]
    frame = pl.DataFrame({"text": texts, "split": ["train"] * len(texts)})
    frame.write_parquet(tmp_path / "clean.parquet", row_group_size=500, compression="zstd")
    before = pyarrow.total_allocated_bytes()
    most = max(pyarrow.total_allocated_bytes() - before for _ in iter_split(tmp_path, "train", 500))
    assert most < (tmp_path / "clean.parquet").stat().st_size / 4


@pytest.mark.parametrize("cuts", [[100], [1] * 100, [33, 0, 60, 7], [50, 50], []])
def test_rows_are_regrouped_into_frames_of_one_size(cuts):
    frame = pl.DataFrame({"n": range(sum(cuts))})
    starts = np.cumsum([0, *cuts])
    frames = list(regrouped((frame.slice(start, size) for start, size in zip(starts, cuts, strict=False)), 30))
    assert [part.height for part in frames] == ([30, 30, 30, 10] if cuts else [])
    assert all(part.n_chunks() == 1 for part in frames)
    assert not cuts or pl.concat(frames).equals(frame)
