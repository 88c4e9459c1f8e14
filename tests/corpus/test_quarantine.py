"""What a person sees of the records that were set aside."""

import os

import pytest

from corpus.ingest import ingest
from corpus.quarantine import newest_quarantine, summarise
from reviewlm.config import SourceConfig
from reviewlm.errors import EmptyInput

LINES = [
    b'{"review_id": "a", "text": "Fine.", "stars": 4}', b'{"review_id": "b", "text": "Bad.", "stars": "five"}',
    b"502 Bad Gateway", b'{"review_id": "c", "text": "Caf\xe9.", "stars": 1}', b'{"text": "cut off', b"x" * 200,
]


def ingested(store, digest, lines):
    file = store.parent / f"{digest}.jsonl"
    file.write_bytes(b"\n".join(lines))
    (store / "ingest" / digest).mkdir(parents=True)
    ingest([file], store / "ingest" / digest, SourceConfig())


def test_each_reason_has_its_count_and_its_first_example(tmp_path):
    ingested(tmp_path / "store", "one", LINES)
    rows = summarise(newest_quarantine(tmp_path / "store"))
    assert [(row["reason"], row["records"], row["line"]) for row in rows] == [
        ("malformed", 3, 3), ("bad_stars", 1, 2), ("encoding", 1, 4),
    ]
    assert rows[0]["raw"] == "502 Bad Gateway"
    assert "\ufffd" in rows[2]["raw"]
    assert all(len(row["raw"]) <= 80 and row["source"] == "one.jsonl" and row["detail"] for row in rows)


def test_the_newest_ingestion_is_looked_at(tmp_path):
    store = tmp_path / "store"
    ingested(store, "zz-old", LINES)
    ingested(store, "aa-new", LINES[:1])
    os.utime(store / "ingest" / "zz-old" / "quarantine.parquet", (1, 1))
    assert summarise(newest_quarantine(store)) == []


def test_before_the_first_ingestion_there_is_nothing_to_look_at(tmp_path):
    with pytest.raises(EmptyInput, match="Nothing has been ingested"):
        newest_quarantine(tmp_path)
