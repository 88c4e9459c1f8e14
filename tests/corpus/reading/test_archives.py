"""Archives, packed files and JSON arrays, with damage anywhere."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import warnings
import zipfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.errors import MissingColumn, Unreadable
from reviewlm.corpus.reading.archives import LAYERS
from reviewlm.corpus.reading.json_arrays import read_array
from reviewlm.corpus.schema import ReadingOptions
from tests.corpus import data_sets, hostile_files
from tests.corpus.review_files import json_lines, review, zstd
from tests.examples import examples

BAD = b'{"review_id": "bad", "text": "a", "stars": "five"}\n'


def reviews(first: int, last: int) -> bytes:
    """Reviews with these numbers, as lines."""
    return json_lines([review(number) for number in range(first, last)])


def tar_of(*members: tuple[str, bytes]) -> bytes:
    return hostile_files.tar_of(
        *((hostile_files.member(name), content) for name, content in members)
    )


def zip_of(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # two members of one name
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def ingested(
    folder: Path,
    name: str,
    content: bytes,
) -> tuple[dict, pl.DataFrame, pl.DataFrame]:
    """Facts, rows and quarantine of one file."""
    (folder / name).write_bytes(content)
    return data_sets.ingested([folder / name], folder / "out")


@pytest.fixture(params=[tar_of, zip_of])
def twins(request, tmp_path):
    """What is read of an archive with two members of one name."""
    members = (
        ("review.json", reviews(0, 5) + BAD),
        ("review.json", reviews(5, 12) + BAD),
    )
    return ingested(tmp_path, "two", request.param(*members))


def test_members_of_one_name_are_all_read(twins):
    facts, _, _ = twins
    assert (facts["records"], facts["rows"]) == (14, 12)
    assert (facts["quarantined"], facts["duplicates"]) == (2, 0)


def test_no_two_records_of_members_of_one_name_stand_at_one_place(twins):
    _, rows, bad = twins
    assert set(rows["source"]) == set(bad["source"]) == {"two:review.json", "two:review#2.json"}
    places = pl.concat([frame.select("source", "line") for frame in (rows, bad)])
    assert places.n_unique() == 14


TWO = tar_of(("review_a.json", reviews(0, 5)), ("review_b.json", reviews(5, 10)))
HEAD_OF_SECOND = TWO.find(b"review_b")


@pytest.mark.parametrize(
    "content",
    [
        TWO[:HEAD_OF_SECOND] + b"\xff" + TWO[HEAD_OF_SECOND + 1 :],
        TWO[: HEAD_OF_SECOND + 100],
        TWO[:HEAD_OF_SECOND],
    ],
    ids=["damaged", "cut inside", "cut before"],
)
def test_a_tar_whose_next_head_cannot_be_read_is_damaged(tmp_path, content):
    assert ingested(tmp_path, "whole.tar", TWO)[0]["rows"] == 10
    with pytest.raises(Unreadable, match="5 records were read before the damage"):
        ingested(tmp_path, "y.tar", content)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_zip_is_said_to_be_damaged_however_it_is_packed(tmp_path, method):
    content = bytearray(zip_of(("review.json", reviews(0, 300)), method=method))
    assert ingested(tmp_path, "y.zip", bytes(content))[0]["rows"] == 300
    content[200:230] = bytes(byte ^ 0xFF for byte in content[200:230])
    with pytest.raises(Unreadable, match="damaged"):
        ingested(tmp_path, "z.zip", bytes(content))


def test_packing_without_end_is_refused(tmp_path):
    content = reviews(0, 3)
    for _ in range(LAYERS):
        content = gzip.compress(content, 1)
    assert ingested(tmp_path, "deep.jsonl.gz", content)[0]["rows"] == 3
    for _ in range(60):
        content = gzip.compress(content, 1)
    with pytest.raises(Unreadable, match="compressed too many times"):
        ingested(tmp_path, "deeper.jsonl.gz", content)


def skippable(size: int) -> bytes:
    """A frame of zstd without content, as `pzstd` puts before each of its own (RFC 8878, section 3.1.2)."""
    return b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size)


FIRST, SECOND = reviews(0, 5), reviews(5, 9)


@pytest.mark.parametrize(
    "content",
    [
        skippable(4) + zstd(FIRST) + skippable(4) + zstd(SECOND),
        zstd(FIRST) + zstd(SECOND) + skippable(0),
        lzma.compress(FIRST) + lzma.compress(SECOND),
        lzma.compress(FIRST + SECOND) + bytes(512),
        lzma.compress(FIRST) + bytes(4) + lzma.compress(SECOND) + bytes(2 << 20),
        bz2.compress(FIRST) + bz2.compress(SECOND),
        bz2.compress(FIRST) + bytes(10) + bz2.compress(SECOND),
        gzip.compress(FIRST) + bytes(512) + gzip.compress(SECOND),
    ],
    ids=[
        "pzstd",
        "zstd",
        "xz",
        "xz padded",
        "xz padded between",
        "bzip2",
        "bzip2 padded",
        "gzip padded",
    ],
)
def test_streams_that_follow_each_other_are_all_read_whatever_pads_them(tmp_path, content):
    facts, rows, _ = ingested(tmp_path, "reviews.jsonl", content)
    assert facts["rows"] == 9
    assert rows["review_id"].to_list() == [f"id-{number:04d}" for number in range(9)]


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_an_archive_in_an_archive_is_found_without_a_suffix(tmp_path, pack):
    inner = tar_of(
        ("yelp_academic_dataset_business.json", b'{"name": "x"}\n'), ("yelp_review.json", FIRST)
    )
    for content in (inner, gzip.compress(inner)):
        outer = pack(("README", b"what this is"), ("yelp_dataset", content))
        facts, rows, _ = ingested(tmp_path, "all.tar", outer)
        assert facts["rows"] == 5
        assert set(rows["source"]) == {"all.tar:yelp_dataset:yelp_review.json"}


OTHER_TABLE = ("categories.csv", b"name,count\nbar,3\n")


def test_other_tables_of_an_archive_are_left_out(tmp_path, caplog):
    content = tar_of(OTHER_TABLE, ("reviews.jsonl", FIRST), ("more.jsonl", SECOND))
    facts, _, _ = ingested(tmp_path, "a.tar", content)
    assert facts["rows"] == 9
    [record] = [record for record in caplog.records if "categories.csv" in record.message]
    assert record.levelname == "WARNING"


def test_an_archive_without_reviews_is_an_error(tmp_path):
    with pytest.raises(MissingColumn, match=r"b\.tar:categories\.csv"):
        ingested(tmp_path, "b.tar", tar_of(OTHER_TABLE))


def test_a_table_of_an_archive_that_is_named_like_reviews_must_hold_them(tmp_path):
    content = tar_of(("a.jsonl", FIRST), ("reviews.csv", OTHER_TABLE[1]))
    with pytest.raises(MissingColumn, match=r"reviews\.csv"):
        ingested(tmp_path, "c.tar", content)


def read(content: bytes, **options: int) -> tuple[list[str], list[tuple]]:
    """Texts that were read, and (number, reason, raw bytes) of what was not."""
    texts, bad = [], []
    for block in read_array(
        io.BufferedReader(io.BytesIO(content)), "x.json", ReadingOptions(**options)
    ):
        texts += block.good["text"].to_list()
        bad += block.bad.select("line", "reason", "raw").rows()
    return texts, bad


anything = st.text(st.characters(codec="utf-8"), max_size=30)
records = st.lists(
    st.fixed_dictionaries(
        {"text": anything},
        optional={
            "user_id": anything,
            "other": st.lists(anything, max_size=3),
            "deep": st.just([[{}]]),
        },
    ),
    max_size=12,
)


@given(records, st.integers(1, 200), st.sampled_from([None, 0, 3]), st.booleans())
@examples(200)
def test_any_array_gives_its_texts_whatever_the_block_size(
    values,
    block_bytes,
    indent,
    ascii_only,
):
    content = json.dumps(values, indent=indent, ensure_ascii=ascii_only).encode()
    texts, bad = read(content, block_bytes=block_bytes)
    assert texts == [value["text"] for value in values]
    assert bad == []


def test_a_broken_element_takes_no_other_with_it():
    content = b'[{"text": "a"}, {"text": "b" "c"},\n {"text": "\xff"}, {"text": "\\ud800"}, 7, {"text": "d"}]'
    texts, bad = read(content)
    assert texts == ["a", "d"]
    assert bad == [
        (2, "malformed", b'{"text": "b" "c"}'),
        (3, "encoding", b'{"text": "\xff"}'),
        (4, "encoding", b'{"text": "\\ud800"}'),
        (5, "not_a_record", b"7"),
    ]


def test_a_missing_quote_does_not_fill_the_memory():
    content = b'[{"text": "a"}, {"text": "' + b"x" * 100_000 + b'}, {"text": "b"}]'
    with pytest.raises(Unreadable, match="too long") as caught:
        read(content, block_bytes=1_000, max_record_bytes=10_000)
    assert "record 2" in str(caught.value)
    assert "max_record_bytes" in str(caught.value)
