"""Archives: members of one name, heads that are damaged, packing without end, and which members are read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import warnings
import zipfile
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import polars as pl
import pyarrow
import pytest

from core.config.sections.source import SourceConfig
from core.errors import MissingColumn, Unreadable
from corpus.archives.names import distinct, looks_like_data, may_be_data
from corpus.ingestion.ingest import ingest, iter_parts
from corpus.reading.readers import LAYERS
from corpus.reading.sources import source_names
from tests.corpus.review_files import json_lines, review, zstd

BAD = b'{"review_id": "bad", "text": "a", "stars": "five"}\n'


def reviews(first: int, last: int) -> bytes:
    """Reviews with these numbers, as lines."""
    return json_lines([review(number) for number in range(first, last)])


def tar_of(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members:
            head = tarfile.TarInfo(name)
            head.size = len(content)
            archive.addfile(head, io.BytesIO(content))
    return out.getvalue()


def zip_of(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # two members of one name
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def ingested(folder: Path, name: str, content: bytes) -> tuple[dict, pl.DataFrame, pl.DataFrame]:
    """Facts, rows and quarantine of one file."""
    (folder / name).write_bytes(content)
    facts = ingest([folder / name], folder / "out", SourceConfig())
    return facts, pl.concat(iter_parts(folder / "out")), pl.read_parquet(folder / "out" / "quarantine.parquet")


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_members_of_one_name_are_all_read_and_no_two_records_stand_at_one_place(tmp_path, pack):
    content = pack(("review.json", reviews(0, 5) + BAD), ("review.json", reviews(5, 12) + BAD))
    facts, rows, bad = ingested(tmp_path, "two", content)
    assert (facts["records"], facts["rows"], facts["quarantined"], facts["duplicates"]) == (14, 12, 2, 0)
    assert set(rows["source"]) == set(bad["source"]) == {"two:review.json", "two:review#2.json"}
    places = pl.concat([frame.select("source", "line") for frame in (rows, bad)])
    assert places.n_unique() == 14


def test_a_numbered_name_keeps_the_ending_that_tells_its_format(tmp_path):
    facts, rows, _ = ingested(tmp_path, "t", zip_of(("reviews.txt", b"one text\n"), ("reviews.txt", b"another\n")))
    assert facts["rows"] == 2
    assert set(rows["text"]) == {"one text", "another"}


def test_files_whose_names_look_the_same_in_a_table_get_different_ones_and_keep_their_endings(tmp_path):
    for name in (b"\xff.txt", b"\xfe.txt", b"?.txt"):
        Path(str(tmp_path), name.decode("utf-8", "surrogateescape")).write_text("a text of " + repr(name) + "\n")
    names = list(source_names([tmp_path]).values())
    assert len(set(names)) == 3
    assert all(name.endswith(".txt") for name in names)
    assert ingest([tmp_path], tmp_path / "out", SourceConfig())["rows"] == 3


def test_a_number_that_is_taken_itself_is_passed_over():
    taken = {"a.csv": 1, "a#2.csv": 1}
    assert [distinct("x/a.json.gz", {}), distinct("a.csv", taken), distinct("a.csv", taken)] == [
        "x/a.json.gz", "a#3.csv", "a#4.csv"
    ]


TWO = tar_of(("review_a.json", reviews(0, 5)), ("review_b.json", reviews(5, 10)))
HEAD_OF_SECOND = TWO.find(b"review_b")


@pytest.mark.parametrize(
    "content",
    [
        TWO[:HEAD_OF_SECOND] + b"\xff" + TWO[HEAD_OF_SECOND + 1 :], TWO[: HEAD_OF_SECOND + 100], TWO[:HEAD_OF_SECOND],
    ],
    ids=["damaged", "cut inside", "cut before"],
)
def test_a_tar_whose_next_head_cannot_be_read_is_damaged_and_not_at_its_end(tmp_path, content):
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


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints/reviews.csv", "_tmp/reviews.json", "a/.reviews.json", "__MACOSX/._reviews.json",
     "reviews.json.part", "reviews.jsonl.tmp", "reviews.json.gz.crdownload"],
)
def test_hidden_and_unfinished_files_are_not_read(name):
    assert not looks_like_data(name)
    assert not may_be_data(name)


@pytest.mark.parametrize("name", ["./a/reviews.json", "../reviews.csv", "reviews.json.1", "reviews.json.bz2"])
def test_other_files_are_read_or_complained_about(name):
    assert looks_like_data(name)


class Watched(pyarrow.CompressedInputStream):
    """Streams of pyarrow, all of which are kept."""

    made: ClassVar[list[Watched]] = []

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.made.append(self)


@pytest.mark.parametrize(
    ("content", "fine"),
    [
        (zstd(reviews(0, 9)), True),
        (zstd(zstd(tar_of(("review.json", reviews(0, 9))))), True),
        (zstd(reviews(0, 9))[:-9], False),
        (zstd(b"\0" * (80 << 20)), False),
    ],
    ids=["whole", "twice packed", "cut off", "too large"],
)
def test_no_stream_of_pyarrow_is_left_to_garbage_collection(tmp_path, monkeypatch, content, fine):
    """Collected at the limit of recursion, it ends the process: `python -m benchmarks.fuzz` found it."""
    monkeypatch.setattr(pyarrow, "CompressedInputStream", Watched)
    monkeypatch.setattr(Watched, "made", [])
    with nullcontext() if fine else pytest.raises(Unreadable):
        ingested(tmp_path, "reviews.zst", content)
    assert Watched.made
    assert all(stream.closed for stream in Watched.made)


def test_a_head_that_asks_for_too_large_a_dictionary_is_damage_of_the_file(tmp_path, monkeypatch):
    def greedy(*arguments: object, **options: object) -> None:
        raise MemoryError

    content = zip_of(("review.json", reviews(0, 9)), method=zipfile.ZIP_LZMA)
    monkeypatch.setattr(lzma, "LZMADecompressor", greedy)
    with pytest.raises(Unreadable, match="more memory than there is"):
        ingested(tmp_path, "reviews.zip", content)


def skippable(size: int) -> bytes:
    """A frame of zstd without content, as `pzstd` puts before each of its own (RFC 8878, section 3.1.2)."""
    return b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size)


FIRST, SECOND = reviews(0, 5), reviews(5, 9)


@pytest.mark.parametrize("content", [
    skippable(4) + zstd(FIRST) + skippable(4) + zstd(SECOND), zstd(FIRST) + zstd(SECOND) + skippable(0),
    lzma.compress(FIRST) + lzma.compress(SECOND), lzma.compress(FIRST + SECOND) + bytes(512),
    lzma.compress(FIRST) + bytes(4) + lzma.compress(SECOND) + bytes(2 << 20),
    bz2.compress(FIRST) + bz2.compress(SECOND), bz2.compress(FIRST) + bytes(10) + bz2.compress(SECOND),
    gzip.compress(FIRST) + bytes(512) + gzip.compress(SECOND),
], ids=["pzstd", "zstd", "xz", "xz padded", "xz padded between", "bzip2", "bzip2 padded", "gzip padded"])  # fmt: skip
def test_streams_that_follow_each_other_are_all_read_whatever_pads_them(tmp_path, content):
    facts, rows, _ = ingested(tmp_path, "reviews.jsonl", content)
    assert facts["rows"] == 9
    assert rows["review_id"].to_list() == [f"id-{number:04d}" for number in range(9)]


@pytest.mark.parametrize("pack", [lzma.compress, bz2.compress, gzip.compress, zstd])
@pytest.mark.parametrize("rest", [b"garbage", b"cut"])
def test_what_follows_a_stream_and_is_none_is_damage(tmp_path, pack, rest):
    """Python's own readers of xz and bzip2 stop there without a word: all that follows would be lost."""
    content = pack(FIRST) + (pack(SECOND)[:-9] if rest == b"cut" else rest)
    with pytest.raises(Unreadable, match="damaged or was cut off"):
        ingested(tmp_path, "reviews.jsonl", content)


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_an_archive_in_an_archive_is_found_without_a_suffix(tmp_path, pack):
    inner = tar_of(("yelp_academic_dataset_business.json", b'{"name": "x"}\n'), ("yelp_review.json", FIRST))
    for content in (inner, gzip.compress(inner)):
        outer = pack(("README", b"what this is"), ("yelp_dataset", content))
        facts, rows, _ = ingested(tmp_path, "all.tar", outer)
        assert facts["rows"] == 5
        assert set(rows["source"]) == {"all.tar:yelp_dataset:yelp_review.json"}


def test_other_tables_of_an_archive_are_left_out_and_named_unless_there_are_no_reviews(tmp_path, caplog):
    other = ("categories.csv", b"name,count\nbar,3\n")
    facts, _, _ = ingested(tmp_path, "a.tar", tar_of(other, ("reviews.jsonl", FIRST), ("more.jsonl", SECOND)))
    assert facts["rows"] == 9
    assert [record.levelname for record in caplog.records if "categories.csv" in record.message] == ["WARNING"]
    with pytest.raises(MissingColumn, match=r"b\.tar:categories\.csv"):
        ingested(tmp_path, "b.tar", tar_of(other))
    with pytest.raises(MissingColumn, match=r"reviews\.csv"):  # it says of itself that it holds reviews
        ingested(tmp_path, "c.tar", tar_of(("a.jsonl", FIRST), ("reviews.csv", other[1])))


def test_a_text_with_mustard_where_a_tar_has_its_mark_is_a_text(tmp_path):
    text = "x" * 256 + "mustard and custard"
    assert text.index("ustar") == 257
    for name in ("r.txt", "r.csv"):
        content = f"text\n{text}\n".encode() if name == "r.csv" else f"{text}\n".encode()
        assert text in ingested(tmp_path, name, content)[1]["text"].to_list()
