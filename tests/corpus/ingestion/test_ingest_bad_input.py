"""Bad records go to the quarantine with their bytes; bad files end in an error that says where. Nothing is lost."""

import gzip

import orjson
import polars as pl
import pytest

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import EmptyInput, Unreadable
from reviewlm.corpus.ingestion.ingest import iter_parts
from reviewlm.corpus.reading.sources import source_names
from tests.corpus.data_sets import ingest
from tests.corpus.review_files import as_parquet, packed_tar, packed_zip, review, zstd
from tests.corpus.review_lines import line


def run(
    tmp_path,
    name,
    content,
    **settings,
):
    (tmp_path / name).write_bytes(content)
    facts = ingest([tmp_path / name], tmp_path / "out", SourceConfig(**settings))
    assert facts["records"] == facts["rows"] + facts["quarantined"] + facts["duplicates"]
    return (
        facts,
        pl.concat(iter_parts(tmp_path / "out")),
        pl.read_parquet(tmp_path / "out" / "quarantine.parquet"),
    )


CSV = b'review_id,stars,text\na,1,"fine"\nb,2,"two\nlines"\n'


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"x,five,hm", "bad_stars"),
        (b"x,1", "malformed"),
        (b"x,1,a,b", "malformed"),
        (b"x,1,caf\xe9", "encoding"),
        (b'x,1,"ends" here', "malformed"),
        (b'x,1,"never closed', "malformed"),
    ],
)
def test_a_bad_csv_record_takes_no_other_with_it(
    tmp_path,
    bad,
    reason,
):
    content = CSV + bad + b'\nc,3,"good, again"\nd,4,"""quoted"""\n'
    _, frame, quarantine = run(tmp_path, "r.csv", content)
    assert frame["review_id"].to_list() == ["a", "b", "c", "d"]
    assert frame["line"].to_list() == [2, 3, 6, 7]
    assert frame["text"].to_list() == ["fine", "two\nlines", "good, again", '"quoted"']
    assert quarantine.select("line", "reason", "raw").rows() == [(5, reason, bad + b"\n")]


def test_of_repeated_ids_the_last_of_the_newest_stays(tmp_path):
    rows = [
        line(text="old", date="2010-01-01"),
        line(text="new", date="2012-01-01"),
        line(text="older", date="2009-01-01"),
        line(review_id="b", text="first"),
        line(review_id="b", text="last"),
        line(review_id="c"),
        line(review_id="d", text="dated"),
        line(
            review_id="d",
            text="undated",
            date=None,
        ),
    ]
    facts, frame, quarantine = run(tmp_path, "r.jsonl", b"\n".join(rows))
    assert frame.select("review_id", "text").rows() == [
        ("a", "new"),
        ("b", "last"),
        ("c", "fine"),
        ("d", "dated"),
    ]
    assert (facts["rows"], facts["duplicates"], facts["quarantined"]) == (4, 4, 0)
    assert quarantine.select("line", "reason").rows() == [(n, "duplicate_id") for n in (1, 3, 4, 8)]
    assert orjson.loads(quarantine["raw"][0])["text"] == "old"


def test_a_folder_without_reviews_is_an_error(tmp_path):
    with pytest.raises(EmptyInput, match=r"(?s)no reviews.*an empty folder"):
        source_names([tmp_path])
    (tmp_path / "notes.pdf").write_bytes(b"x")
    with pytest.raises(EmptyInput, match=r"(?s)no reviews.*1 files"):
        source_names([tmp_path])


def many(count=60_000):
    return b"".join(line(review_id=f"r{n}", text=f"text {n * 7919}") + b"\n" for n in range(count))


@pytest.mark.parametrize("kind", ["gz", "zst", "tgz", "zip", "parquet", "array"])
def test_a_file_that_was_cut_off_leaves_nothing_that_looks_whole(
    tmp_path,
    kind,
    monkeypatch,
):
    monkeypatch.setattr("reviewlm.corpus.ingestion.ingest.BLOCK_BYTES", 1 << 18)
    name, content = {
        "gz": lambda: ("r.json.gz", gzip.compress(many())),
        "zst": lambda: ("r.json.zst", zstd(many())),
        "tgz": lambda: ("r.tgz", packed_tar({"review.json": many()})),
        "zip": lambda: ("r.zip", packed_zip({"review.json": many()})),
        "parquet": lambda: ("r.parquet", as_parquet([review(number) for number in range(1000)])),
        "array": lambda: ("r.json", b"[" + many(1000).replace(b"\n", b",")),
    }[kind]()
    with pytest.raises(Unreadable) as caught:
        run(tmp_path, name, content[: len(content) * 2 // 3])
    assert name in str(caught.value)
    if kind in ("gz", "zst", "tgz"):
        assert int(str(caught.value.value).split()[0]) > 1000
    assert not (tmp_path / "out" / "parts").exists()
    assert not (tmp_path / "out" / "ingest.json").exists()
