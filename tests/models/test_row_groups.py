"""Row groups that are moved as bytes: the files of one writer, and a group read alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from reviewlm.models.row_groups import RowGroups, join_files

ROWS = st.lists(
    st.tuples(
        st.none() | st.text(max_size=30),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.booleans(),
    ),
    max_size=20,
)
SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),
        ("number", pa.int64()),
        ("real", pa.float64()),
        ("yes", pa.bool_()),
    ]
    + [(f"other {number}", pa.int32()) for number in range(15)]
)


def table(rows: list[tuple[object, ...]]) -> pa.Table:
    """Return rows with 15 more columns: a list of more than 14 values has a longer head in a footer."""
    more = dict.fromkeys((f"other {number}" for number in range(15)), 7)
    names = SCHEMA.names[:4]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) | more for row in rows], SCHEMA)


def written(tables: list[pa.Table], compression: str) -> np.ndarray:
    content = io.BytesIO()
    with parquet.ParquetWriter(content, SCHEMA, compression=compression) as writer:
        for one in tables:
            writer.write_table(one)
    return np.frombuffer(content.getvalue(), np.uint8)


@given(st.lists(ROWS, min_size=1, max_size=5), st.sampled_from(["zstd", "none"]))
@settings(max_examples=60, deadline=None)
def test_joined_files_have_the_bytes_of_one_writer(
    groups: list[list[tuple[object, ...]]], compression: str
) -> None:
    tables = [table(rows) for rows in groups]
    joined = io.BytesIO()
    join_files(joined, (written([one], compression) for one in tables))
    assert joined.getvalue() == written(tables, compression).tobytes()


def test_a_row_group_read_alone_is_a_file_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame = pl.DataFrame({"text": [f"text {n % 7}" for n in range(1_000)], "n": range(1_000)})
    parquet.write_table(frame.to_arrow(), path, row_group_size=300)
    groups = RowGroups(path)
    assert len(groups) == 4
    for number, start in enumerate(range(0, 1_000, 300)):
        alone = pl.read_parquet(io.BytesIO(groups.piece(number).read().tobytes()))
        assert alone.equals(frame[start : start + 300])


def test_groups_read_alone_join_to_the_file_that_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(
        written([table([("a", n, 0.5, True)] * 9) for n in range(4)], "zstd").tobytes()
    )
    groups = RowGroups(path)
    joined = io.BytesIO()
    join_files(joined, (groups.piece(number).read() for number in range(len(groups))))
    assert joined.getvalue() == path.read_bytes()


def test_a_file_without_rows_joins_with_others() -> None:
    joined = io.BytesIO()
    none = written([], "zstd")
    join_files(joined, [none, written([table([("a", 1, 0.5, True)])], "zstd")])
    assert pl.read_parquet(io.BytesIO(joined.getvalue())).height == 1


def test_an_unknown_kind_of_value_in_a_footer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    footer = bytes([0x1B, 0])  # a map
    path.write_bytes(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(ValueError, match="kind 11"):
        RowGroups(path)
