"""Records come back from quarantine: by themselves after a setting was raised, or as a person corrected them."""

import json

import orjson
import polars as pl
import pytest

from core.config.sections.source import SourceConfig
from core.errors import Damaged, EmptyInput, Unreadable
from corpus.ingestion.quarantine import export, summarise
from corpus.ingestion.replay import replays_of
from tests.corpus.replayed_home import Home
from tests.corpus.review_files import as_csv
from tests.corpus.review_lines import line


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


def test_a_replayed_record_with_a_known_id_is_settled_as_if_it_had_been_good_at_once(home):
    home.add("a.jsonl", line(review_id="a", text="x" * 60, date="2020-01-01") + b"\n" + line(review_id="b"))
    home.add("b.jsonl", line(review_id="a", text="old", date="2011-01-01"))
    assert home.data_set("before")[1]["text"].to_list() == ["fine", "old"]
    home.replay(SourceConfig())
    facts, frame, quarantine = home.data_set()
    assert frame["text"].to_list() == ["x" * 60, "fine"]
    assert (facts["duplicates"], facts["quarantined"]) == (1, 0)
    assert quarantine["reason"].to_list() == ["duplicate_id"]


def test_a_row_of_a_table_that_is_called_a_text_comes_back_as_a_row(home, tmp_path):
    home.add("a.txt", b"text,stars\n" + b"long " * 30 + b",5\nshort,4\nbad,five\n")
    (tmp_path / "fixed").write_text('{"source": "a.txt", "line": 4, "raw": "good,5"}')
    with pytest.raises(Unreadable, match="JSON object"):
        home.replay(SourceConfig(), tmp_path / "fixed")
    assert home.replay(SourceConfig()) == {"replayed": 1, "left": 1, "reasons": {"bad_stars": 1}}
    assert home.data_set()[1].select("stars", "line").rows() == [(5.0, 2), (4.0, 3)]


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
