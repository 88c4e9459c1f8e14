"""What a person sees of the records that were set aside, and of which data set."""

import pytest

from core.config.sections.source import SourceConfig
from core.errors import ConfigError, Damaged, EmptyInput
from core.store import Store
from corpus.ingestion.ingest import ingest
from corpus.ingestion.quarantine import data_set_of, only_data_set, summarise
from corpus.reading.sources import identify

LINES = [
    b'{"review_id": "a", "text": "Fine.", "stars": 4}', b'{"review_id": "b", "text": "Bad.", "stars": "five"}',
    b"502 Bad Gateway", b'{"review_id": "c", "text": "Caf\xe9.", "stars": 1}', b'{"text": "cut off', b"x" * 200,
]


def ingested(store, name, lines, edition=1):
    """Ingest a file of its own; another edition stands for a replay, or for other settings."""
    file = store.root.parent / f"{name}.jsonl"
    file.write_bytes(b"\n".join(lines))
    source = identify(file, file.name)

    def make(work):
        ingest([file], work, SourceConfig())
        return {"sources": [{"name": source.name, "bytes": source.bytes, "sha256": source.sha256}]}

    return store.build("ingest", edition, {}, {"file": source.sha256}, make).artifact


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def of(tmp_path, name):
    return SourceConfig(input=(str(tmp_path / f"{name}.jsonl"),))


def test_each_reason_has_its_count_and_its_first_example(store):
    rows = summarise(ingested(store, "one", LINES).folder / "quarantine.parquet")
    assert [(row["reason"], row["records"], row["line"]) for row in rows] == [
        ("malformed", 3, 3), ("bad_stars", 1, 2), ("encoding", 1, 4),
    ]
    assert rows[0]["raw"] == "502 Bad Gateway"
    assert "\ufffd" in rows[2]["raw"]
    assert all(len(row["raw"]) <= 80 and row["source"] == "one.jsonl" and row["detail"] for row in rows)


def test_the_data_set_of_the_files_that_are_meant_is_looked_at_whichever_is_newest(store, tmp_path):
    mine = ingested(store, "mine", LINES)
    ingested(store, "other", LINES[:1])
    assert data_set_of(store, of(tmp_path, "mine")) == mine
    assert data_set_of(store, SourceConfig(), mine.digest) == mine


def test_a_file_that_has_changed_since_is_another_one(store, tmp_path):
    ingested(store, "mine", LINES)
    (tmp_path / "mine.jsonl").write_bytes(LINES[0])
    with pytest.raises(EmptyInput, match="not been ingested yet"):
        data_set_of(store, of(tmp_path, "mine"))


def test_without_a_name_only_a_single_data_set_is_meant(store):
    with pytest.raises(EmptyInput, match="Nothing has been ingested"):
        only_data_set(store)
    mine = ingested(store, "mine", LINES)
    assert only_data_set(store) == mine
    ingested(store, "other", LINES[:1])
    with pytest.raises(ConfigError, match="which data set to use"):
        only_data_set(store)


def test_a_damaged_quarantine_is_named_and_not_read(store, tmp_path):
    file = ingested(store, "mine", LINES).folder / "quarantine.parquet"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(Damaged, match=r"quarantine\.parquet"):
        data_set_of(store, of(tmp_path, "mine"))
