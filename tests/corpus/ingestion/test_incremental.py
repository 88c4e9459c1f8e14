"""A data set grows file by file: only what is new is read, names stay, copies change nothing, repeats are settled."""

import os
from collections import Counter

import orjson
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import corpus.ingestion.build_dataset
from core.config.sections.source import SourceConfig
from core.errors import Unreadable
from corpus.ingestion.build_dataset import DATASET_FILE, assemble, find_repeats
from corpus.ingestion.ingest import ingest, iter_parts, read_source
from corpus.ingestion.parts import added, describe
from corpus.reading.sources import identify, source_names
from corpus.schema import COLUMNS
from tests.corpus.review_lines import line
from tests.examples import examples

CONFIG = SourceConfig(part_rows=5)


def lines(*ids, **fields):
    return b"\n".join(line(review_id=name, text=f"text of {name}", **fields) for name in ids)


def put(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def data_set(folder, out, config=CONFIG):
    facts = ingest([folder], out, config)
    for entry in (facts, *facts["sources"]):
        assert entry["records"] == entry["rows"] + entry["quarantined"] + entry["duplicates"]
    assert orjson.loads((out / DATASET_FILE).read_bytes()) == facts
    assert [name for source in facts["sources"] for name in source["parts"]] == sorted(os.listdir(out / "parts"))
    frame = pl.concat(iter_parts(out))
    assert (frame.height, describe(frame)["content"]) == (facts["rows"], facts["content_sha256"])
    return facts, frame, pl.read_parquet(out / "quarantine.parquet")


class TestNames:
    """What a source is called does not depend on what else is there."""

    def test_a_file_has_its_name_a_folder_and_a_glob_the_path_below_them(self, tmp_path):
        put(tmp_path / "in", a__x_jsonl=b"", b__y_csv=b"", b__z_jsonl=b"")
        assert list(source_names([tmp_path / "in" / "a" / "x.jsonl"]).values()) == ["x.jsonl"]
        assert list(source_names([tmp_path / "in"]).values()) == ["a/x.jsonl", "b/y.csv", "b/z.jsonl"]
        assert list(source_names([tmp_path / "in" / "*" / "*.jsonl"]).values()) == ["a/x.jsonl", "b/z.jsonl"]
        assert list(source_names([tmp_path / "in" / "b" / "*"]).values()) == ["y.csv", "z.jsonl"]

    def test_a_file_that_is_meant_twice_is_there_once(self, tmp_path, monkeypatch):
        put(tmp_path / "in", x_jsonl=b"")
        monkeypatch.chdir(tmp_path)
        assert list(source_names(["in", "in/x.jsonl", tmp_path / "in" / "*.jsonl"]).values()) == ["x.jsonl"]

    @given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1))
    @examples(30)
    def test_names_are_unique_whatever_is_given(self, tmp_path_factory, places):
        folder = tmp_path_factory.mktemp("names")
        files = [folder / a / b / f"{name}.jsonl" for a, b, name in places]
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        names = source_names(files)
        assert len(set(names.values())) == len(names) == len(set(files))


class TestInputsThatCannotBeRead:
    """An input that the system refuses is an error of the input, not of the store."""

    def test_a_device_is_no_input(self):
        with pytest.raises(Unreadable, match="not a regular file"):
            source_names(["/dev/null"])

    @pytest.mark.parametrize("error", [PermissionError(13, "forbidden"), IsADirectoryError(21, "a directory")])
    def test_what_the_system_refuses_is_an_input_error(self, tmp_path, monkeypatch, error):
        def refuse(path):
            raise error

        put(tmp_path / "in", x_jsonl=lines("a"))
        monkeypatch.setattr("corpus.reading.sources.sha256_of_file", refuse)
        with pytest.raises(Unreadable, match=r"(?s)cannot be read.*x\.jsonl"):
            ingest([tmp_path / "in"], tmp_path / "out", CONFIG)


class TestCopies:
    """The same bytes under another name change nothing but the count of duplicates."""

    @pytest.mark.parametrize("copy", ["x (1).jsonl", "aaa/x.jsonl", "zzz.jsonl", "x.jsonl.copy.json"])
    def test_a_copy_changes_no_row_and_no_part(self, tmp_path, copy):
        put(tmp_path / "in", x_jsonl=lines(*"abcdefg") + b"\n{broken")
        before, frame, quarantine = data_set(tmp_path / "in", tmp_path / "before")
        (tmp_path / "in" / copy).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / copy).write_bytes((tmp_path / "in" / "x.jsonl").read_bytes())
        after, same, same_quarantine = data_set(tmp_path / "in", tmp_path / "after")
        assert same.equals(frame)
        assert same_quarantine.equals(quarantine)
        assert after["content_sha256"] == before["content_sha256"]
        assert (after["records"], after["rows"], after["quarantined"], after["duplicates"]) == (16, 7, 1, 8)
        assert after["copied"] == 8
        (entry,) = (source for source in after["sources"] if "same_as" in source)
        assert (entry["name"], entry["same_as"], entry["duplicates"]) == (copy, "x.jsonl", 8)

    def test_the_same_reviews_in_another_packing_add_nothing_either(self, tmp_path):
        import gzip

        put(tmp_path / "in", x_jsonl=lines(*"abcdefg"))
        before, _, _ = data_set(tmp_path / "in", tmp_path / "before")
        put(tmp_path / "in", x_jsonl_gz=gzip.compress(lines(*"abcdefg")))
        after, frame, quarantine = data_set(tmp_path / "in", tmp_path / "after")
        assert after["content_sha256"] == before["content_sha256"]
        assert (after["rows"], after["duplicates"], after["identical"], after["superseded"]) == (7, 7, 7, 0)
        assert frame["review_id"].to_list() == list("abcdefg")
        assert quarantine["reason"].to_list() == ["duplicate_id"] * 7
        assert set(quarantine["raw"]) == {b""}


class TestRepeatedIds:
    """A review_id that returns."""

    def test_in_a_later_file_with_other_text_the_newest_stays_and_the_other_is_recorded(self, tmp_path):
        put(tmp_path / "in", a_jsonl=line(review_id="r", text="old", date="2010-01-01") + b"\n" + lines("s"))
        data_set(tmp_path / "in", tmp_path / "before")
        put(tmp_path / "in", b_jsonl=line(review_id="r", text="new", date="2015-01-01"))
        facts, frame, quarantine = data_set(tmp_path / "in", tmp_path / "after")
        assert frame.select("review_id", "text", "source").rows() == [
            ("s", "text of s", "a.jsonl"), ("r", "new", "b.jsonl")]
        assert (facts["superseded"], facts["identical"], facts["quarantined"]) == (1, 0, 0)
        (bad,) = quarantine.to_dicts()
        assert (bad["source"], bad["line"], bad["reason"]) == ("a.jsonl", 1, "duplicate_id")
        assert orjson.loads(bad["raw"])["text"] == "old"
        assert [source["duplicates"] for source in facts["sources"]] == [1, 0]

    @pytest.mark.long
    @given(
        st.lists(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["", "2001", "2002"]), st.sampled_from("xy")))),
        st.sampled_from([1, 3, 1000]), st.sampled_from([1, 4, 1000]),
    )
    @examples(60)
    def test_the_bounded_search_equals_brute_force(self, tmp_path_factory, parts, at_once, fetched):
        folder = tmp_path_factory.mktemp("parts")
        rows, paths = [], []
        for number, part in enumerate(parts):
            records = [{"review_id": f"sha-{'0' * 28}" if key == 0 else f"r{key}", "text": text, "date": date or None}
                       for key, date, text in part]
            rows += records
            paths.append(folder / f"{number}.parquet")
            schema = {"review_id": pl.String, "text": pl.String, "date": pl.String}
            date = pl.col("date").str.to_date("%Y").cast(pl.Datetime("us"))
            frame = pl.DataFrame(records, schema=schema).with_columns(date)
            missing = [pl.lit(None, dtype).alias(name) for name, dtype in COLUMNS.items() if name not in frame.columns]
            frame.with_columns(missing).select(COLUMNS.keys()).write_parquet(paths[-1])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(corpus.ingestion.build_dataset, "HASHES", at_once)
            patch.setattr(corpus.ingestion.build_dataset, "FETCHED", fetched)
            found = find_repeats(paths, [len(part) for part in parts])
        losers, identical, renamed = {}, {}, Counter()
        best, occurrence = {}, {}
        for number, row in enumerate(rows):
            name = row["review_id"]
            if name.startswith("sha-"):
                renamed[name] += 1
                if renamed[name] > 1:
                    occurrence[number] = renamed[name]
            elif name not in best or (row["date"] or "", number) > (rows[best[name]]["date"] or "", best[name]):
                best[name] = number
        for number, row in enumerate(rows):
            kept = best.get(row["review_id"], number)
            if kept != number:
                losers[number] = True
                identical[number] = row == rows[kept]
        assert found.losers.tolist() == list(losers)
        assert found.identical.tolist() == list(identical.values())
        assert dict(zip(found.renamed.tolist(), found.occurrence.tolist(), strict=True)) == occurrence


def readings_of(folder, out, read=None):
    """Read the files of a folder that are not in *read* yet; return the sources and all readings."""
    sources = [identify(path, name) for path, name in source_names([folder]).items()]
    readings = dict(read or {})
    for source in sources:
        if source.key not in readings:
            readings[source.key] = read_source(source, out / source.key[:8], CONFIG)
    return sources, readings


def test_growing_equals_reading_all_at_once_and_unchanged_parts_are_the_same_files(tmp_path, monkeypatch):
    put(tmp_path / "in", a_jsonl=lines(*map(str, range(12))), b_jsonl=lines(*map(str, range(20, 32))))
    sources, read = readings_of(tmp_path / "in", tmp_path / "read")
    assemble(tmp_path / "small", sources, read)
    put(tmp_path / "in", aa_jsonl=lines("new", "3", date="2020-01-01"))
    with monkeypatch.context() as patch:
        opened, real = [], read_source

        def noted(source, *rest):
            opened.append(source.name)
            return real(source, *rest)

        patch.setattr("test_incremental.read_source", noted)
        sources, read = readings_of(tmp_path / "in", tmp_path / "read", read)
    assert opened == ["aa.jsonl"]
    facts = assemble(tmp_path / "grown", sources, read)
    whole, frame, quarantine = data_set(tmp_path / "in", tmp_path / "whole")
    assert facts == whole
    assert pl.concat(iter_parts(tmp_path / "grown")).equals(frame)
    assert pl.read_parquet(tmp_path / "grown" / "quarantine.parquet").equals(quarantine)
    small = {path.stat().st_ino for path in (tmp_path / "small" / "parts").iterdir()}
    grown = {path.stat().st_ino for path in (tmp_path / "grown" / "parts").iterdir()}
    assert (len(small), len(small & grown), len(grown)) == (6, 5, 7)


def test_a_file_without_good_records_does_not_stop_the_others(tmp_path):
    put(tmp_path / "in", a_jsonl=b"{broken", b_jsonl=lines("x"), c_jsonl=b"")
    facts, frame, _ = data_set(tmp_path / "in", tmp_path / "out")
    assert (facts["rows"], facts["quarantined"]) == (1, 1)
    assert [source["records"] for source in facts["sources"]] == [1, 1, 0]
    assert frame["source"].to_list() == ["b.jsonl"]


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=12), st.integers(0, 12), st.randoms())
@examples(40)
def test_the_content_hash_is_that_of_a_multiset(texts, cut, draw):
    rows = [{"review_id": f"r{index}", "text": text.decode("latin-1")} for index, text in enumerate(texts)]
    frame = pl.DataFrame(rows, schema={"review_id": pl.String, "text": pl.String})
    absent = [pl.lit(None, dtype).alias(name) for name, dtype in COLUMNS.items() if name not in frame.columns]
    frame = frame.with_columns(absent).select(COLUMNS.keys())
    whole = describe(frame)["content"]
    pieces = [describe(frame[:cut])["content"], describe(frame[cut:])["content"]]
    assert added(pieces).tobytes().hex() == whole
    shuffled = frame[draw.sample(range(frame.height), frame.height)]
    assert describe(shuffled)["content"] == whole
    if texts:
        assert describe(frame[1:])["content"] != whole
        assert describe(frame.with_columns(text=pl.col("text") + "!"))["content"] != whole
