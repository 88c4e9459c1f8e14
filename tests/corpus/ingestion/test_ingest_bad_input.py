"""Bad records go to the quarantine with their bytes; bad files end in an error that says where. Nothing is lost."""

import csv
import gzip
import io
import tarfile

import orjson
import polars as pl
import pyarrow
import pytest

from core.config.sections.source import SourceConfig
from core.errors import EmptyInput, StoreFull, Unreadable
from corpus.ingestion.ingest import ingest, iter_parts
from corpus.reading.sources import source_names
from tests.corpus.review_lines import BAD_LINES, line


def run(tmp_path, name, content, **settings):
    (tmp_path / name).write_bytes(content)
    facts = ingest([tmp_path / name], tmp_path / "out", SourceConfig(**settings))
    assert facts["records"] == facts["rows"] + facts["quarantined"] + facts["duplicates"]
    return facts, pl.concat(iter_parts(tmp_path / "out")), pl.read_parquet(tmp_path / "out" / "quarantine.parquet")


@pytest.mark.parametrize(("bad", "reason"), BAD_LINES)
def test_a_bad_line_is_quarantined_with_reason_place_and_bytes(tmp_path, bad, reason):
    content = b"\n".join([line(review_id="one"), bad, b"", line(review_id="two")])
    facts, frame, quarantine = run(tmp_path, "r.jsonl", content, max_chars=1000)
    assert frame["review_id"].to_list() == ["one", "two"]
    assert frame["line"].to_list() == [1, 4]
    assert quarantine.select("source", "line", "reason", "raw").rows() == [("r.jsonl", 2, reason, bad)]
    assert quarantine["detail"][0]
    assert facts["reasons"] == {reason: 1}


def test_details_name_field_and_value(tmp_path):
    _, _, quarantine = run(tmp_path, "r.jsonl", b"\n".join([line(), line(stars="five"), line(date="31/31/2018")]))
    stars, date = quarantine["detail"].to_list()
    assert stars == "stars is 'five'"
    assert date.startswith("date is '31/31/2018'; read are 2024-05-31 or")


def test_a_repeated_key_takes_its_last_value(tmp_path):
    content = line()[:-1] + b',"text":"the last one"}\n'
    assert run(tmp_path, "r.jsonl", content)[1]["text"].to_list() == ["the last one"]


def test_escaped_pairs_become_one_character(tmp_path):
    content = line(text="X").replace(b'"X"', rb'"\ud83d\ude00 caf\u00e9"') + b"\n"
    assert run(tmp_path, "r.jsonl", content)[1]["text"].to_list() == ["😀 café"]


def test_a_review_of_a_megabyte_is_quarantined_not_cut(tmp_path):
    long = "word " * 200_000
    for name, content in (
        ("r.jsonl", line(text=long) + b"\n" + line(review_id="z")),
        ("r.csv", f'review_id,text\na,"{long}"\nz,fine\n'.encode()),
        ("r.txt", f"{long}\nfine\n".encode()),
    ):
        (tmp_path / name.partition(".")[2]).mkdir()
        _, frame, quarantine = run(tmp_path / name.partition(".")[2], name, content)
        assert frame["text"].to_list() == ["fine"]
        assert quarantine["reason"].to_list() == ["too_long"]
        assert long.strip().encode() in quarantine["raw"][0]


CSV = b'review_id,stars,text\na,1,"fine"\nb,2,"two\nlines"\n'


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"x,five,hm", "bad_stars"), (b"x,1", "malformed"), (b"x,1,a,b", "malformed"),
        (b"x,1,caf\xe9", "encoding"), (b'x,1,"ends" here', "malformed"), (b'x,1,"never closed', "malformed"),
    ],
)
def test_a_bad_csv_record_takes_no_other_with_it(tmp_path, bad, reason):
    content = CSV + bad + b'\nc,3,"good, again"\nd,4,"""quoted"""\n'
    _, frame, quarantine = run(tmp_path, "r.csv", content)
    assert frame["review_id"].to_list() == ["a", "b", "c", "d"]
    assert frame["line"].to_list() == [2, 3, 6, 7]
    assert frame["text"].to_list() == ["fine", "two\nlines", "good, again", '"quoted"']
    assert quarantine.select("line", "reason", "raw").rows() == [(5, reason, bad + b"\n")]


def test_a_csv_in_latin_1_loses_nothing(tmp_path):
    rows = [[f"id{n}", "3", "café" if n % 3 == 0 else "plain"] for n in range(30)]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([["review_id", "stars", "text"], *rows])
    facts, _, quarantine = run(tmp_path, "r.csv", out.getvalue().encode("latin-1"))
    assert (facts["rows"], facts["quarantined"]) == (20, 10)
    assert set(quarantine["reason"]) == {"encoding"}
    restored = quarantine["raw"].to_list()[0].decode("latin-1").strip()
    assert restored == "id0,3,café"


def test_latin_1_lines_of_plain_text_are_quarantined(tmp_path):
    _, frame, quarantine = run(tmp_path, "r.txt", "fine\ncafé\nfine too\n".encode("latin-1"))
    assert frame["line"].to_list() == [1, 3]
    assert quarantine.select("line", "reason", "raw").rows() == [(2, "encoding", b"caf\xe9")]


def test_an_array_loses_only_the_broken_element(tmp_path):
    latin = line(review_id="b", text="caf\u00e9").replace(b"\xc3\xa9", b"\xe9")
    items = [line(review_id="a"), latin, b"7", line(stars="five")]
    _, frame, quarantine = run(tmp_path, "r.json", b"[\n" + b",\n".join(items) + b"\n]")
    assert frame["review_id"].to_list() == ["a"]
    assert quarantine.select("line", "reason").rows() == [(2, "encoding"), (3, "not_a_record"), (4, "bad_stars")]
    assert quarantine["raw"][0] == items[1]


def test_parquet_records_are_quarantined_too(tmp_path):
    out = io.BytesIO()
    columns = {"review_id": ["a", "b", "c"], "text": ["x", None, "z"], "stars": ["1", "2", "five"]}
    pl.DataFrame(columns).write_parquet(out)
    _, frame, quarantine = run(tmp_path, "r.parquet", out.getvalue())
    assert frame["review_id"].to_list() == ["a"]
    assert quarantine.select("line", "reason").rows() == [(2, "missing_text"), (3, "bad_stars")]
    assert orjson.loads(quarantine["raw"][1])["stars"] == "five"


def test_gaps_that_pandas_wrote_are_unknown_values(tmp_path):
    out = io.BytesIO()
    pl.DataFrame({"text": ["x", "y"], "stars": [float("nan"), 2.0], "useful": [float("nan"), 3.0]}).write_parquet(out)
    _, frame, quarantine = run(tmp_path, "r.parquet", out.getvalue())
    assert quarantine.is_empty()
    assert frame.select("stars", "useful").rows() == [(None, None), (2.0, 3)]


def test_of_repeated_ids_the_newest_stays_and_of_equally_new_ones_the_last(tmp_path):
    rows = [
        line(text="old", date="2010-01-01"), line(text="new", date="2012-01-01"), line(text="older", date="2009-01-01"),
        line(review_id="b", text="first"), line(review_id="b", text="last"), line(review_id="c"),
        line(review_id="d", text="dated"), line(review_id="d", text="undated", date=None),
    ]
    facts, frame, quarantine = run(tmp_path, "r.jsonl", b"\n".join(rows))
    assert frame.select("review_id", "text").rows() == [("a", "new"), ("b", "last"), ("c", "fine"), ("d", "dated")]
    assert (facts["rows"], facts["duplicates"], facts["quarantined"]) == (4, 4, 0)
    assert quarantine.select("line", "reason").rows() == [(n, "duplicate_id") for n in (1, 3, 4, 8)]
    assert orjson.loads(quarantine["raw"][0])["text"] == "old"


def test_repeats_over_part_borders_are_found(tmp_path):
    rows = [line(review_id=f"r{n % 13}", text=f"t{n}", date=f"20{n % 17:02d}-01-01") for n in range(60)]
    facts, frame, _ = run(tmp_path, "r.jsonl", b"\n".join(rows), part_rows=7)
    best = {}
    for n in range(60):
        best[n % 13] = max(best.get(n % 13, (-1, -1)), (n % 17, n))
    assert sorted(frame["text"]) == sorted(f"t{n}" for _, n in best.values())
    assert (facts["rows"], facts["duplicates"]) == (13, 47)


def test_records_without_an_id_get_one_from_their_content_and_are_no_duplicates(tmp_path):
    records = (("x", 1), ("z", 1), ("x", 1), ("y", 1), ("x", 1))
    rows = [orjson.dumps({"text": text, "stars": stars}) for text, stars in records]
    facts, frame, _ = run(tmp_path, "r.jsonl", b"\n".join(rows), part_rows=2)
    ids = frame["review_id"].to_list()
    assert (facts["rows"], facts["duplicates"], len(set(ids))) == (5, 0, 5)
    assert ids[2] == f"{ids[0]}-2"
    assert ids[4] == f"{ids[0]}-3"


@pytest.mark.parametrize("name", ["r.jsonl", "r.csv", "r.json", "r.txt", "r.json.gz", "noname"])
def test_an_empty_file_is_an_error_that_names_it(tmp_path, name):
    content = gzip.compress(b"") if name.endswith("gz") else b""
    with pytest.raises(EmptyInput, match=f"(?s)holds no records.*{name}"):
        run(tmp_path, name, content)


def test_a_csv_of_nothing_but_its_header_is_empty(tmp_path):
    with pytest.raises(EmptyInput, match="no records"):
        run(tmp_path, "r.csv", b"review_id,text\n")


def test_a_folder_without_reviews_is_an_error(tmp_path):
    with pytest.raises(EmptyInput, match=r"(?s)no reviews.*an empty folder"):
        source_names([tmp_path])
    (tmp_path / "notes.pdf").write_bytes(b"x")
    with pytest.raises(EmptyInput, match=r"(?s)no reviews.*1 files"):
        source_names([tmp_path])


def test_an_archive_without_reviews_is_an_error(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("business.json")
        archive.addfile(info)
    with pytest.raises(EmptyInput, match=r"(?s)holds no reviews.*business\.json"):
        ingest([tmp_path / "a.tar"], tmp_path / "out", SourceConfig())


def test_all_records_bad_shows_the_commonest_reason_and_its_first_place(tmp_path):
    content = b"\n".join([b"{", line(stars="five"), line(stars="six"), line(stars="seven")])
    with pytest.raises(EmptyInput) as caught:
        run(tmp_path, "r.jsonl", content)
    message = str(caught.value)
    assert "None of the 4 records" in message
    assert "r.jsonl, line 2" in message
    assert "bad_stars (stars is 'five')" in message


def many(count=60_000):
    return b"".join(line(review_id=f"r{n}", text=f"text {n * 7919}") + b"\n" for n in range(count))


@pytest.mark.parametrize("kind", ["gz", "zst", "tgz", "zip", "parquet", "array"])
def test_a_file_that_was_cut_off_is_named_and_nothing_is_left_that_looks_whole(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("corpus.ingestion.ingest.BLOCK_BYTES", 1 << 18)
    out = io.BytesIO()
    if kind == "gz":
        name, content = "r.json.gz", gzip.compress(many())
    elif kind == "zst":
        name, content = "r.json.zst", pyarrow.Codec("zstd").compress(many(), asbytes=True)
    elif kind == "tgz":
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            info = tarfile.TarInfo("review.json")
            info.size = len(many())
            archive.addfile(info, io.BytesIO(many()))
        name, content = "r.tgz", out.getvalue()
    elif kind == "zip":
        import zipfile

        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("review.json", many())
        name, content = "r.zip", out.getvalue()
    elif kind == "parquet":
        pl.DataFrame({"text": ["x"] * 1000}).write_parquet(out)
        name, content = "r.parquet", out.getvalue()
    else:
        name, content = "r.json", b"[" + many(1000).replace(b"\n", b",")
    with pytest.raises(Unreadable) as caught:
        run(tmp_path, name, content[: len(content) * 2 // 3])
    assert name in str(caught.value)
    if kind in ("gz", "zst", "tgz"):
        assert int(str(caught.value.value).split()[0]) > 1000
    assert not (tmp_path / "out" / "parts").exists()
    assert not (tmp_path / "out" / "ingest.json").exists()


@pytest.mark.slow
def test_after_a_cut_off_file_was_replaced_the_whole_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("corpus.ingestion.ingest.BLOCK_BYTES", 1 << 18)
    whole = gzip.compress(many(20_000))
    with pytest.raises(Unreadable):
        run(tmp_path, "r.json.gz", whole[: len(whole) // 2], part_rows=1000)
    facts, _, _ = run(tmp_path, "r.json.gz", whole, part_rows=1000)
    assert facts["rows"] == 20_000


@pytest.mark.parametrize("content", ["text\nx\n".encode("utf-16"), b"\x7fELF\x02\x01 whatever"])
def test_other_encodings_and_unknown_formats_are_refused(tmp_path, content):
    with pytest.raises(Unreadable):
        run(tmp_path, "noname", content)


def test_a_full_disk_is_our_error(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    (tmp_path / "r.jsonl").write_bytes(line())
    monkeypatch.setattr("corpus.ingestion.ingest.write_whole", full)
    with pytest.raises(StoreFull):
        ingest([tmp_path / "r.jsonl"], tmp_path / "out", SourceConfig())
