"""Records come back from quarantine: by themselves after a setting was raised, or as a person corrected them."""

import json
import os

import orjson
import polars as pl
import pytest

from core.config.sections.source import SourceConfig
from core.errors import Damaged, EmptyInput, Unreadable
from corpus.ingestion.ingest import read_source
from corpus.quarantine.records import export, summarise
from corpus.quarantine.replay import replays_of
from corpus.reading.sources import identify
from corpus.schema import FIELDS
from tests.corpus.replayed_home import STRICT, Home, fixed_file
from tests.corpus.review_files import as_csv
from tests.corpus.review_lines import BAD_LINES, line

PLACE = ["source", "line"]


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def some_lines(count=30):
    """Every third review is too long for `STRICT`; the last one is, too."""
    return [line(review_id=f"r{n}", text=f"{'long ' * 30 * (n % 3 == 2)}text {n}") for n in range(count)]


def test_a_raised_limit_gives_the_data_set_that_a_new_reading_would(home, tmp_path):
    content = b"\n".join([*some_lines(), b"{broken"])
    home.add("a.jsonl", content)
    before, _, _ = home.data_set("before")
    assert (before["rows"], before["quarantined"]) == (20, 11)
    assert home.replay(SourceConfig()) == {"replayed": 10, "left": 1, "reasons": {"malformed": 1}}
    facts, frame, quarantine = home.data_set()
    (tmp_path / "fresh").mkdir()
    fresh = Home(tmp_path / "fresh", SourceConfig())
    fresh.add("a.jsonl", content)
    expected, expected_frame, expected_quarantine = fresh.data_set()
    assert frame.equals(expected_frame)
    assert quarantine.equals(expected_quarantine)
    assert facts["content_sha256"] == expected["content_sha256"] != before["content_sha256"]
    same = ("records", "rows", "quarantined", "duplicates", "reasons", "bytes", "date_min", "date_max")
    assert {name: facts[name] for name in same} == {name: expected[name] for name in same}
    assert facts["replayed"] == 10


@pytest.mark.parametrize("kind", ["array.json", "r.txt", "r.csv", "r.parquet"])
def test_records_of_every_format_come_back(home, kind):
    rows = [orjson.loads(each) for each in some_lines()]
    if kind == "array.json":
        content = orjson.dumps(rows)
    elif kind == "r.txt":
        content = "\n".join(row["text"] for row in rows).encode()
    elif kind == "r.csv":
        content = as_csv(rows)
    else:
        pl.DataFrame(rows).write_parquet(home.folder / "x")
        content = (home.folder / "x").read_bytes()
    home.add(kind, content)
    _, quick, _ = home.data_set("before")
    assert quick.height == 20
    assert home.replay(SourceConfig())["replayed"] == 10
    _, frame, quarantine = home.data_set()
    assert quarantine.is_empty()
    assert frame["text"].to_list() == [row["text"].strip() if kind == "r.txt" else row["text"] for row in rows]
    assert frame["line"].to_list() == sorted(frame["line"])


@pytest.mark.parametrize(
    "first", [b"\0" * 40, b"\0a\0b", b"\xff\xfea", b"PAR1"], ids=["NULs", "wide", "mark", "Parquet"]
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_a_record_that_looks_like_a_file_of_another_kind_costs_itself_alone(home, name, first):
    long = line(text="long " * 30) if name == "a.jsonl" else b"long " * 30
    start = line(review_id="one") if name == "a.jsonl" else b"one"
    home.add(name, b"\n".join([start, first + b"\xff", long]))
    home.data_set("before")
    facts = home.replay(SourceConfig())
    assert (facts["replayed"], facts["left"]) == (1, 1)


def corrected(path, change):
    """Change the field `raw` of all lines of an exported file."""
    records = [json.loads(row) for row in path.read_text().splitlines()]
    for record in records:
        record["raw"] = change(record)
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n")
    return path


def test_what_a_person_corrects_enters_at_its_own_place(home, tmp_path):
    source = home.add("a.jsonl", b"\n".join([line(review_id="one"), line(review_id="two", stars="five"), b"{broken",
                                              line(review_id="three")]))
    _, _, _ = home.data_set("before")
    assert export(tmp_path / "before" / "quarantine.parquet", tmp_path / "bad.jsonl")["records"] == 2
    fixed = corrected(tmp_path / "bad.jsonl", lambda record: record["raw"].replace('"five"', "5"))
    assert home.replay(fixed=fixed) == {"replayed": 1, "left": 1, "reasons": {"malformed": 1}}
    _, frame, quarantine = home.data_set()
    assert frame.select("review_id", "stars", "source", "line").rows() == [
        ("one", 5, "a.jsonl", 1), ("two", 5, "a.jsonl", 2), ("three", 5, "a.jsonl", 4)]
    assert quarantine.select("line", "reason").rows() == [(3, "malformed")]
    assert [path.name for path in replays_of(tmp_path / "replays", home.readings[source.sha256])] == ["1.parquet"]


def test_a_mended_record_may_be_an_object_and_may_stand_in_a_csv_file(home, tmp_path):
    home.add("r.csv", b'review_id,stars,text\na,1,fine\nx,"5" or so,good\n')
    record = {"source": "r.csv", "line": 3, "raw": {"review_id": "x", "stars": 5, "text": "good"}}
    (tmp_path / "fixed.jsonl").write_text(json.dumps(record))
    assert home.replay(fixed=tmp_path / "fixed.jsonl")["replayed"] == 1
    assert home.data_set()[1].select("review_id", "stars").rows() == [("a", 1), ("x", 5)]


def test_latin_1_bytes_survive_export_and_come_back_corrected(home, tmp_path):
    home.add("a.jsonl", line() + b"\n" + line(review_id="x", text="caf\u00e9").replace(b"\xc3\xa9", b"\xe9"))
    _, _, quarantine = home.data_set("before")
    export(tmp_path / "before" / "quarantine.parquet", tmp_path / "bad.jsonl", "encoding")
    back = json.loads((tmp_path / "bad.jsonl").read_text())
    assert back["raw"].encode("utf-8", "surrogateescape") == quarantine["raw"][0]
    fixed = corrected(tmp_path / "bad.jsonl", lambda record: record["raw"].replace("\udce9", "é"))
    home.replay(fixed=fixed)
    assert home.data_set()[1]["text"].to_list() == ["fine", "café"]


def test_a_second_replay_takes_what_the_first_left(home):
    home.add("a.jsonl", b"\n".join([line(), line(review_id="b", text="x" * 60), line(review_id="c", text="x" * 600)]))
    assert home.replay(SourceConfig(max_chars=100))["replayed"] == 1
    assert home.replay(SourceConfig())["replayed"] == 1
    assert home.data_set()[1]["line"].to_list() == [1, 2, 3]
    with pytest.raises(EmptyInput, match="nothing to replay"):
        home.replay(SourceConfig())


def test_a_replay_belongs_to_the_bytes_of_its_file_whatever_that_is_called(home, tmp_path):
    home.add("a.jsonl", b"\n".join(some_lines()))
    home.replay(SourceConfig())
    os.rename(tmp_path / "a.jsonl", tmp_path / "kept.jsonl")
    source = identify(tmp_path / "kept.jsonl", "elsewhere/kept.jsonl")
    home.sources, home.readings = [source], {source.sha256: read_source(source, tmp_path / "again", STRICT)}
    facts, frame, _ = home.data_set()
    assert facts["rows"] == 30
    assert frame["source"].unique().to_list() == ["elsewhere/kept.jsonl"]


def test_a_replay_is_left_out_where_the_record_was_read_well_meanwhile(home, tmp_path):
    home.add("a.jsonl", b"\n".join(some_lines()))
    home.replay(SourceConfig())
    home.readings = {home.sources[0].sha256: read_source(home.sources[0], tmp_path / "wide", SourceConfig())}
    facts, _, _ = home.data_set()
    assert (facts["rows"], facts["replayed"], facts["records"]) == (30, 0, 30)


def test_a_replayed_record_with_a_known_id_is_settled_as_if_it_had_been_good_at_once(home):
    home.add("a.jsonl", line(review_id="a", text="x" * 60, date="2020-01-01") + b"\n" + line(review_id="b"))
    home.add("b.jsonl", line(review_id="a", text="old", date="2011-01-01"))
    assert home.data_set("before")[1]["text"].to_list() == ["fine", "old"]
    home.replay(SourceConfig())
    facts, frame, quarantine = home.data_set()
    assert frame["text"].to_list() == ["x" * 60, "fine"]
    assert (facts["duplicates"], facts["quarantined"]) == (1, 0)
    assert quarantine["reason"].to_list() == ["duplicate_id"]


def test_members_of_an_archive_keep_their_places(home):
    from tests.corpus.review_files import packed_tar

    members = {f"{name}_review.json": b"\n".join(some_lines(9)).replace(b':"r', f':"{name}'.encode()) for name in "ba"}
    home.add("y.tgz", packed_tar(members))
    home.replay(SourceConfig())
    _, frame, quarantine = home.data_set()
    assert quarantine.is_empty()
    assert set(frame["source"]) == {"y.tgz:a_review.json", "y.tgz:b_review.json"}
    for _, rows in frame.group_by("source"):
        assert sorted(rows["line"]) == list(range(1, 10))


def test_what_the_name_of_a_folder_says_comes_back_with_the_record(home, tmp_path):
    for name in ("stars=5/a.jsonl", "stars=4/a.jsonl", "stars=3/a.txt"):
        (tmp_path / name).parent.mkdir()
        lines = [b"long " * 30, b"short"]
        if name.endswith("jsonl"):
            lines = [orjson.dumps({"text": text.decode()}) for text in lines]
        home.add(name, b"\n".join(lines))
    assert home.replay(SourceConfig())["replayed"] == 3
    _, frame, _ = home.data_set()
    stars = {source: int(source[6]) for source in frame["source"]}
    assert frame.height == 6
    assert all(row["stars"] == stars[row["source"]] for row in frame.iter_rows(named=True))


def test_a_row_of_a_table_that_is_called_a_text_comes_back_as_a_row(home, tmp_path):
    home.add("a.txt", b"text,stars\n" + b"long " * 30 + b",5\nshort,4\nbad,five\n")
    (tmp_path / "fixed").write_text('{"source": "a.txt", "line": 4, "raw": "good,5"}')
    with pytest.raises(Unreadable, match="JSON object"):
        home.replay(SourceConfig(), tmp_path / "fixed")
    assert home.replay(SourceConfig()) == {"replayed": 1, "left": 1, "reasons": {"bad_stars": 1}}
    assert home.data_set()[1].select("stars", "line").rows() == [(5.0, 2), (4.0, 3)]


def test_records_that_no_setting_helps_are_named_with_their_reasons(home):
    home.add("a.jsonl", b"\n".join([line(), *(bad for bad, reason in BAD_LINES if reason != "too_long")]))
    with pytest.raises(EmptyInput, match=r"(?s)None of the records.*malformed"):
        home.replay(SourceConfig())
    assert not (home.folder / "replays").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"source": "b.jsonl", "line": 2}, {"source": "a.jsonl", "line": 1}, {"source": "a.jsonl", "line": 3}],
)
def test_a_fixed_file_that_names_an_unknown_place_is_refused(home, tmp_path, wrong):
    home.add("a.jsonl", b"\n".join([line(), b"{broken", line(date="2001-01-01")]))
    (tmp_path / "fixed.jsonl").write_text(json.dumps({**wrong, "raw": line().decode()}))
    with pytest.raises(Unreadable, match=rf"(?s)not in quarantine.*line 1.*{wrong['source']}, line {wrong['line']}"):
        home.replay(fixed=tmp_path / "fixed.jsonl")


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"source": "a.jsonl", "line": 2}', b'{"source": 1, "line": 2, "raw": ""}']
)
def test_a_fixed_file_of_another_kind_is_refused_with_its_line(home, tmp_path, content):
    home.add("a.jsonl", line() + b"\n{broken")
    (tmp_path / "fixed.jsonl").write_bytes(b"\n" + content)
    with pytest.raises(Unreadable, match=r"fixed\.jsonl, line 2"):
        home.replay(fixed=tmp_path / "fixed.jsonl")


def test_csv_records_need_their_file(home, tmp_path):
    home.add("r.csv", as_csv([orjson.loads(each) for each in some_lines()]))
    (tmp_path / "r.csv").write_bytes(b"review_id,text\n")
    with pytest.raises(Unreadable, match="from their original file"):
        home.replay(SourceConfig())


def test_a_record_that_was_too_large_to_be_kept_is_read_from_its_file(home):
    narrow = SourceConfig(max_record_bytes=20_000)
    home.config = narrow
    home.add("a.jsonl", line() + b"\n" + line(review_id="long", text="long " * 10_000) + b"\n" + line(review_id="z"))
    _, _, quarantine = home.data_set("before")
    assert quarantine["reason"].to_list() == ["too_long"]
    assert home.replay(SourceConfig())["replayed"] == 1
    _, frame, _ = home.data_set()
    assert frame["review_id"].to_list() == ["a", "long", "z"]
    assert frame["text"][1] == "long " * 10_000


def test_exporting_another_reason_or_nothing_says_what_there_is(home, tmp_path):
    home.add("a.jsonl", b"\n".join([line(), b"{broken", line(date="2001-01-01")]))
    home.data_set()
    with pytest.raises(EmptyInput, match=r"(?s)'too_long'.*malformed \(1\)"):
        export(tmp_path / "out" / "quarantine.parquet", tmp_path / "bad.jsonl", "too_long")
    assert not list(tmp_path.glob("bad*"))
    assert export(tmp_path / "out" / "quarantine.parquet", tmp_path / "bad.jsonl", "duplicate_id")["records"] == 1
    reasons = [row["reason"] for row in summarise(tmp_path / "out" / "quarantine.parquet")]
    assert sorted(reasons) == ["duplicate_id", "malformed"]


def test_no_field_is_lost_on_the_way_through_quarantine(home):
    rows = [orjson.loads(each) for each in some_lines(3)]
    home.add("a.jsonl", b"\n".join(map(orjson.dumps, rows)))
    home.replay(SourceConfig())
    frame = home.data_set()[1].filter(pl.col("line") == 3).select(FIELDS)
    assert frame.with_columns(pl.col("date").cast(pl.String).str.head(19)).to_dicts() == [rows[2]]


def test_half_a_character_in_the_fixed_file_is_named_with_its_line(home, tmp_path):
    home.add("a.jsonl", b"\n".join([line(review_id="r"), b"{broken", b"{broken"]))
    with pytest.raises(Unreadable, match=r"fixed\.jsonl, line 2"):
        home.replay(fixed=fixed_file(tmp_path, '{"text": "a"}', '{"text": "\ud83d"}'))


@pytest.mark.parametrize(
    ("record", "reason"), [({"text": "a", "review_id": 2**70}, "wrong_type"), ({"text": "\ud83d"}, "encoding")]
)
def test_a_corrected_record_that_is_no_better_is_counted_by_its_new_reason(home, tmp_path, record, reason):
    home.add("a.jsonl", b"\n".join([line(review_id="r"), b"{broken", b"{broken"]))
    fixed = fixed_file(tmp_path, record, {"text": "mended"})
    assert home.replay(fixed=fixed) == {"replayed": 1, "left": 1, "reasons": {reason: 1}}


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1 for the soup", "-2 stars", "@home", "\t=1", "'a'", "'=1"])
def test_a_text_that_a_spreadsheet_would_run_comes_back_as_it_was(home, tmp_path, text):
    """The export is JSON lines, in which nothing is marked: a mark would become part of the review."""
    source = home.add("a.jsonl", b"\n".join([line(review_id="good"), line(review_id="odd", text=text, stars="five")]))
    export(home.readings[source.sha256].quarantine, tmp_path / "fixed.jsonl")
    record = json.loads((tmp_path / "fixed.jsonl").read_text())
    assert json.loads(record["raw"])["text"] == text
    record["raw"] = record["raw"].replace('"five"', "5")
    (tmp_path / "fixed.jsonl").write_text(json.dumps(record))
    assert home.replay(fixed=tmp_path / "fixed.jsonl")["replayed"] == 1
    _, frame, _ = home.data_set()
    assert frame.filter(review_id="odd")["text"].to_list() == [text]


def test_damaged_replays_are_named_and_not_read(home, tmp_path):
    source = home.add("a.jsonl", b"\n".join(some_lines()))
    home.replay(SourceConfig())
    [file] = replays_of(tmp_path / "replays", home.readings[source.sha256])
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(Damaged, match=r"1\.parquet"):
        home.data_set()
    file.with_suffix(".sha256").unlink()
    with pytest.raises(Damaged):
        home.data_set()
