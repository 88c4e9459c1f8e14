"""Which test reviews of earlier data another model has not learnt from."""

from pathlib import Path

import polars as pl
import pytest

from corpus.splitting.learnt import choose_unlearnt


def prepared(folder: Path, **splits: dict[str, str]) -> Path:
    """Write a prepared table of reviews, id to text, by split."""
    rows = [(review, text, split) for split, reviews in splits.items() for review, text in reviews.items()]
    folder.mkdir()
    frame = pl.DataFrame(rows, ["review_id", "text", "split"], orient="row")
    frame.with_columns(stars=3, bytes=pl.col("text").str.len_bytes() + 1).write_parquet(folder / "clean.parquet")
    return folder


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    tests = {f"t{number}": f"test review {number}" for number in range(6)}
    return prepared(tmp_path / "earlier", test=tests, train={"a": "learnt by the champion"})


def test_reviews_are_left_out_by_id_and_by_text_of_training_and_validation(earlier: Path, tmp_path: Path) -> None:
    now = prepared(
        tmp_path / "now", test={"t0": "test review 0"}, validation={"t1": "rewritten"},
        train={"x": "test review 2", "t3": "test review 3", "y": "Test review 4"},
    )  # fmt: skip
    found = choose_unlearnt(earlier, [now], 100, 1)
    assert found.reviews["review_id"].to_list() == ["t0", "t4", "t5"], "in the order of the table; case makes a text"
    assert (found.tests, found.learnt_ids, found.learnt_texts) == (6, 2, 1)


def test_of_many_reviews_so_many_are_drawn_and_the_seed_decides_which(earlier: Path, tmp_path: Path) -> None:
    now = prepared(tmp_path / "now", train={"t0": "?"})
    drawn = [choose_unlearnt(earlier, [now], 3, seed).reviews["review_id"].to_list() for seed in range(20)]
    assert all(len(set(ids)) == 3 and ids == sorted(ids) and "t0" not in ids for ids in drawn)
    assert drawn[0] == choose_unlearnt(earlier, [now], 3, 0).reviews["review_id"].to_list()
    assert len({tuple(ids) for ids in drawn}) > 3
