"""A data set grows file by file: only what is new is read, names stay, copies change nothing, repeats are settled."""

import os

import orjson
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.corpus.ingestion.build_dataset import DATASET_FILE, assemble
from reviewlm.corpus.ingestion.ingest import iter_parts, read_source
from reviewlm.corpus.ingestion.parts import add_contents, describe
from reviewlm.corpus.reading.sources import identify, source_names
from reviewlm.corpus.schema import COLUMNS
from tests.corpus.data_sets import ingest
from tests.corpus.review_lines import line
from tests.examples import examples

CONFIG = SourceConfig(part_rows=5)


def lines(*ids, **fields):
    return b"\n".join(
        line(
            review_id=name,
            text=f"text of {name}",
            **fields,
        )
        for name in ids
    )


def put(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def data_set(
    folder,
    out,
    config=CONFIG,
):
    facts = ingest([folder], out, config)
    for entry in (facts, *facts["sources"]):
        assert entry["records"] == entry["rows"] + entry["quarantined"] + entry["duplicates"]
    assert orjson.loads((out / DATASET_FILE).read_bytes()) == facts
    assert [name for source in facts["sources"] for name in source["parts"]] == sorted(
        os.listdir(out / "parts")
    )
    frame = pl.concat(iter_parts(out))
    assert (frame.height, describe(frame)["content"]) == (facts["rows"], facts["content_sha256"])
    return facts, frame, pl.read_parquet(out / "quarantine.parquet")


def readings_of(
    folder,
    out,
    read=None,
):
    """Read the files of a folder that are not in *read* yet; return the sources and all readings."""
    sources = [identify(path, name) for path, name in source_names([folder]).items()]
    readings = dict(read or {})
    for source in sources:
        if source.key not in readings:
            readings[source.key] = read_source(source, out / source.key[:8], CONFIG)
    return sources, readings


def test_growing_equals_reading_all_at_once(tmp_path, monkeypatch):
    put(
        tmp_path / "in",
        a_jsonl=lines(*map(str, range(12))),
        b_jsonl=lines(*map(str, range(20, 32))),
    )
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
    put(
        tmp_path / "in",
        a_jsonl=b"{broken",
        b_jsonl=lines("x"),
        c_jsonl=b"",
    )
    facts, frame, _ = data_set(tmp_path / "in", tmp_path / "out")
    assert (facts["rows"], facts["quarantined"]) == (1, 1)
    assert [source["records"] for source in facts["sources"]] == [1, 1, 0]
    assert frame["source"].to_list() == ["b.jsonl"]


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=12), st.integers(0, 12), st.randoms())
@examples(40)
def test_the_content_hash_is_that_of_a_multiset(
    texts,
    cut,
    draw,
):
    rows = [
        {"review_id": f"r{index}", "text": text.decode("latin-1")}
        for index, text in enumerate(texts)
    ]
    frame = pl.DataFrame(rows, schema={"review_id": pl.String, "text": pl.String})
    absent = [
        pl.lit(None, dtype).alias(name)
        for name, dtype in COLUMNS.items()
        if name not in frame.columns
    ]
    frame = frame.with_columns(absent).select(COLUMNS.keys())
    whole = describe(frame)["content"]
    pieces = [describe(frame[:cut])["content"], describe(frame[cut:])["content"]]
    assert add_contents(pieces).tobytes().hex() == whole
    shuffled = frame[draw.sample(range(frame.height), frame.height)]
    assert describe(shuffled)["content"] == whole
    if texts:
        assert describe(frame[1:])["content"] != whole
        assert describe(frame.with_columns(text=pl.col("text") + "!"))["content"] != whole
