"""Reviews that drift compares with are as many as asked for, wherever their split begins in the table."""

from pathlib import Path

import polars as pl
import pytest

from reviewlm.corpus.splitting.split import TABLE
from reviewlm.tasks.data.drift import _first


@pytest.mark.parametrize("count", [1, 3, 7, 20, 50])
def test_the_first_reviews_of_a_split_are_all_there(tmp_path: Path, count: int) -> None:
    splits = ["test"] * 5 + ["validation"] * 6 + ["train"] * 20
    pl.DataFrame({"review_id": list(range(31)), "split": splits}).write_parquet(tmp_path / TABLE)
    train, held_out = (
        _first(tmp_path, ("train",), count),
        _first(tmp_path, ("validation", "test"), count),
    )
    assert train["review_id"].to_list() == list(range(11, 31))[:count]
    assert held_out["review_id"].to_list() == [5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4][:count]
