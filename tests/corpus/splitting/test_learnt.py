"""Which held-out reviews have a text that a model has learnt from earlier data, and how the earlier texts are read."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from corpus.splitting.learnt import find_learnt
from corpus.splitting.split import SPLITS
from tests.corpus.splitting.test_unlearnt import prepared


def find(held_out: list[tuple[str, str]], *earlier: Path, threads: int = 1) -> list[bool]:
    """Search for held-out reviews (text, split), in frames of two."""
    ranks = [SPLITS.index(split) for _, split in held_out]
    frame = pl.DataFrame({"text": [text for text, _ in held_out], "rank": pl.Series(ranks, dtype=pl.UInt8)})
    return find_learnt(frame.iter_slices(2), earlier, threads).tolist()


def test_texts_of_train_and_validation_are_learnt_and_those_of_test_are_not(tmp_path: Path) -> None:
    earlier = prepared(tmp_path / "e", test={"1": "text a"}, validation={"2": "text b"}, train={"3": "text c"})
    held_out = [("text a", "test"), ("text b", "test"), ("text c", "test"), ("Text c", "test")]
    assert find(held_out, earlier) == [False, True, True, False]


@pytest.mark.parametrize("threads", [1, 3])
def test_one_data_set_of_several_is_enough_and_all_are_reported(threads: int, tmp_path: Path) -> None:
    one = prepared(tmp_path / "1", train={str(number): f"text {number}" for number in range(30)})
    two = prepared(tmp_path / "2", train={"1": "a short one"}, test={"2": "text 1"})
    pl.read_parquet(one / "clean.parquet").write_parquet(one / "clean.parquet", row_group_size=7)
    assert find([("text 1", "test"), ("a short one", "test"), ("new", "test")], two, one, threads=threads) == [
        True, True, False,
    ]  # fmt: skip
    counts: list[int] = []
    find_learnt([], [one, two], threads, counts.append)
    assert sum(counts) == 32
