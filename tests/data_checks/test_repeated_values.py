import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Unreadable
from data_checks.metrics.metrics import distinct_count, repeated, straddling, total
from data_checks.metrics.tables import MetricError, Table, measure
from tests.examples import examples

VALUES = st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), max_size=30)


def found(values, rows=4):
    table = Table.of(pl.DataFrame({"v": pl.Series(values, dtype=pl.String)}))
    return measure(table, {"r": repeated("v", pl.col("v"), pl.col("v"))}, rows)["r"]


@examples(60, derandomize=True)
@given(values=VALUES)
def test_repeated_rows_are_those_that_counting_finds(values):
    counts = {value: values.count(value) for value in values if value is not None}
    places = [i for i, value in enumerate(values) if counts.get(value, 0) > 1]
    result = found(values)
    assert (result.rows, result.count) == (sum(counts.values()), len(places))
    assert list(result.indexes) == places[:20]
    assert list(result.values) == [values[i] for i in places[:20]]


def test_values_of_one_hash_are_told_apart(monkeypatch):
    table = Table.of(pl.DataFrame({"v": ["a", "b", "c", "b"]}))
    # All hashes are equal, as if by the worst of chances.
    monkeypatch.setattr(pl.Expr, "hash", lambda self, seed=0: self.is_not_null().cast(pl.UInt64))
    result = measure(table, {"r": repeated("v", pl.col("v"), pl.col("v"))}, 2)["r"]
    assert (result.count, result.indexes) == (2, (1, 3))
    split = Table.of(pl.DataFrame({"v": ["a", "b", "c"], "s": ["train", "test", "train"]}))
    assert measure(split, {"s": straddling("v", "s", ["train", "test"])}, 2)["s"] == 0


@examples(40, derandomize=True)
@given(values=VALUES, seed=st.integers(0, 9))
def test_straddling_values_are_those_that_counting_finds(values, seed):
    groups = np.random.default_rng(seed).choice(["train", "validation", "test", "other"], len(values)).tolist()
    table = Table.of(pl.DataFrame({"v": pl.Series(values, dtype=pl.String), "s": pl.Series(groups, dtype=pl.String)}))
    pairs = set(zip(values, groups, strict=True))
    known = {(value, group) for value, group in pairs if value is not None and group != "other"}
    straddle = sum(sum(value == each for each, _ in known) > 1 for value in {value for value, _ in known})
    metrics = {"s": straddling("v", "s", ["train", "validation", "test"]), "d": distinct_count("v", pl.col("v"))}
    figures = measure(table, metrics, 4)
    assert figures == {"s": straddle, "d": len({value for value in values if value is not None})}


def test_a_metric_that_raises_is_broken_and_the_others_are_not():
    table = Table.of(pl.DataFrame({"v": ["a", "1"], "n": [1, 2]}))
    metrics = {"bad": total(("v",), pl.col("v").cast(pl.Int64).sum()), "good": total(("n",), pl.col("n").sum())}
    figures = measure(table, metrics, 1)
    assert isinstance(figures["bad"], MetricError)
    assert "conversion" in figures["bad"].message
    assert figures["good"] == 3


def parts(folder, *frames):
    for number, frame in enumerate(frames):
        frame.write_parquet(folder / f"part-{number}.parquet")
    return folder


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(Unreadable, match="no Parquet file"):
        Table.of(tmp_path)
    folder = parts(tmp_path, pl.DataFrame({"n": [1]}), pl.DataFrame({"n": ["a"]}))
    with pytest.raises(Unreadable, match=r"part-1\.parquet"):
        _ = Table.of(folder).schema
    (tmp_path / "part-0.parquet").write_bytes(b"no parquet")
    with pytest.raises(Unreadable, match=r"part-0\.parquet"):
        _ = Table.of(folder).schema
