"""One record never costs the file: whatever stands in it, the others are read, and it is in quarantine."""

from __future__ import annotations

import io
import tarfile
from datetime import datetime

import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from reviewlm.core.errors import EmptyInput, ReviewLMError, Unreadable
from reviewlm.corpus.ingestion.quarantine import export
from tests.corpus.hostile_files import CSV, having, member, tar_of
from tests.corpus.review_files import ingested, json_lines, review

IMPOSSIBLE_DATES = [
    "0000-01-01 00:00:00",
    "-0001-01-01",
    "+10000-01-01 00:00:00",
    "99999-12-31",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31 23:59:59-01:00",
    "292278994-08-17T07:12:55",
]


def with_middle(middle: bytes) -> bytes:
    first, last = json_lines([review(1)]), json_lines([review(2)])
    return first + middle + b"\n" + last


def reasons(quarantine: pl.DataFrame) -> list[tuple[int, str]]:
    return quarantine.sort("line").select("line", "reason").rows()


@pytest.mark.parametrize("date", IMPOSSIBLE_DATES)
@pytest.mark.parametrize("form", ["lines", "array", "csv"])
def test_a_date_that_no_calendar_of_four_digits_has_costs_its_record(
    tmp_path,
    date,
    form,
):
    lines = with_middle(having(date=date))
    name, content, line = {
        "lines": ("r.jsonl", lines, 2),
        "array": ("r.json", b"[" + lines.strip().replace(b"\n", b",") + b"]", 2),
        "csv": ("r.csv", CSV + f"a2,4,bad,{date}\na3,3,fine,2020-01-03\n".encode(), 3),
    }[form]
    facts, rows, quarantine = ingested(tmp_path, (name, content))
    assert reasons(quarantine) == [(line, "bad_date")]
    assert date in quarantine["detail"][0]
    assert (rows.height, facts["records"]) == (2, 3)


def parquet_of(**columns: object) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table(columns), out, store_schema=True)
    return out.getvalue()


ONE_DAY = 86_400
MOMENTS = {
    pa.timestamp("s"): 1,
    pa.timestamp("ms"): 1_000,
    pa.timestamp("us"): 1_000_000,
    pa.timestamp("ns"): 10**9,
    pa.timestamp("us", "Europe/Berlin"): 1_000_000,
    pa.timestamp("us", "Mars/Olympus"): 1_000_000,
    pa.date32(): 1 / ONE_DAY,
    pa.date64(): 1_000,
}


@pytest.mark.parametrize("kind", MOMENTS, ids=str)
def test_a_moment_of_parquet_out_of_range_costs_its_row(tmp_path, kind):
    whole = pa.int32() if kind == pa.date32() else pa.int64()
    second = {pa.date32(): 2**31 - 1, pa.timestamp("s"): 2**50}.get(kind, 2**62)
    far = [int(17_720 * ONE_DAY * MOMENTS[kind]), second, -second, None]
    table = {
        "text": ["a", "b", "c", "d"],
        "review_id": list("1234"),
        "date": pa.array(far, whole).view(kind),
    }
    facts, rows, quarantine = ingested(tmp_path, ("r.parquet", parquet_of(**table)))
    assert reasons(quarantine) == [(2, "bad_date"), (3, "bad_date")]
    assert rows["date"].to_list() == [datetime(2018, 7, 8), None]
    assert facts["records"] == 4


def test_a_string_of_parquet_that_is_not_utf8_costs_its_row(tmp_path):
    content = parquet_of(
        text=["good", "caf\xe9", "fine"],
        user_id=["u", "", "caf\xe9"],
        review_id=list("123"),
    )
    content = content.replace("caf\xe9".encode(), b"caf\xff\xff")
    _, rows, quarantine = ingested(tmp_path, ("r.parquet", content))
    assert reasons(quarantine) == [(2, "encoding"), (3, "encoding")]
    assert rows["text"].to_list() == ["good"]
    assert b"caf\\udcff\\udcff" in quarantine["raw"][0]
    export([tmp_path / "out" / "quarantine.parquet"], tmp_path / "bad.jsonl")
    with pytest.raises(EmptyInput, match="encoding"):  # given back as it is it stays what it was
        ingested(tmp_path, ("bad.jsonl", (tmp_path / "bad.jsonl").read_bytes()))


def test_a_column_of_csv_that_is_there_twice_is_refused_instead_of_lost(tmp_path):
    with pytest.raises(Unreadable, match="Two columns have the same name"):
        ingested(tmp_path, ("r.csv", b"review_id,text,text\na,b,c\n"))


def sparse_tar(form: int) -> bytes:
    """A small tar, a member of which stands for 8 terabytes of zeros: in GNU's old form, or the one of pax."""
    size = 8 << 40
    if form == 0:
        head = bytearray(member("review.json", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
        head[386:398], head[398:410] = b"00000000000\0", b"00000000000\0"
        head[483:495] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        return bytes(head) + bytes(1024)
    fields = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "review.json",
    }
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out,
        mode="w",
        format=tarfile.PAX_FORMAT,
    ) as archive:
        info = member("GNUSparseFile.0/review.json")
        info.pax_headers, info.size = {**fields, "GNU.sparse.realsize": str(size)}, 512
        archive.addfile(info, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
    return out.getvalue()


@pytest.mark.parametrize("form", [0, 1])
def test_a_sparse_member_is_refused_instead_of_read_for_ever(tmp_path, form):
    with pytest.raises(Unreadable, match="sparse"):
        ingested(tmp_path, ("y.tar", sparse_tar(form)))


def damaged_tar(place: slice, value: bytes) -> bytes:
    """A tar whose only head has other bytes at a place, and the checksum that they need."""
    content = bytearray(tar_of((member("review.json"), json_lines())))
    content[place] = value
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        damaged_tar(slice(124, 136), b"\xff" * 12),  # a size of -1
        damaged_tar(slice(124, 136), b"\x80" + b"\x7f" * 11),
        damaged_tar(slice(124, 136), b"not octal!!!"),
        damaged_tar(slice(156, 157), tarfile.XHDTYPE),  # attributes that are JSON
        damaged_tar(slice(156, 157), tarfile.GNUTYPE_SPARSE),
        damaged_tar(slice(156, 157), tarfile.GNUTYPE_LONGNAME),
        tar_of(*[(member("x", tarfile.XHDTYPE), b"11 path=abc\n")] * 3_000),  # heads within heads
    ],
)
def test_a_damaged_head_of_a_tar_is_an_input_error(tmp_path, content):
    with pytest.raises(ReviewLMError):
        ingested(tmp_path, ("y.tar", content))


def test_a_parquet_file_of_a_few_kilobytes_may_not_stand_for_a_billion_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("reviewlm.corpus.schema.ALWAYS_ALLOWED", 1 << 20)
    out = io.BytesIO()
    parquet.write_table(pa.table({"text": pa.array(["x"] * 50_000)}), out)
    assert len(out.getvalue()) < 2_000
    with pytest.raises(Unreadable, match="max_expansion"):
        ingested(tmp_path, ("r.parquet", out.getvalue()))
