"""The quarantine, and unusable files refused by their first records."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import Damaged, EmptyInput, InputError, MissingColumn, Unreadable
from reviewlm.core.store import Store
from reviewlm.corpus.ingestion import look_before as module
from reviewlm.corpus.ingestion.find_data_set import data_set_of, newest_data_set
from reviewlm.corpus.ingestion.look_before import require_usable
from reviewlm.corpus.ingestion.quarantine import summarise
from reviewlm.corpus.reading.sources import identify
from tests.corpus.data_sets import ingest
from tests.corpus.review_files import packed_tar

LINES = [
    b'{"review_id": "a", "text": "Fine.", "stars": 4}',
    b'{"review_id": "b", "text": "Bad.", "stars": "five"}',
    b"502 Bad Gateway",
    b'{"review_id": "c", "text": "Caf\xe9.", "stars": 1}',
    b'{"text": "cut off',
    b"x" * 200,
]


def ingested(
    store,
    name,
    lines,
    edition=1,
):
    """Ingest a file of its own; another edition stands for a replay, or for other settings."""
    file = store.root.parent / f"{name}.jsonl"
    file.write_bytes(b"\n".join(lines))
    source = identify(file, file.name)

    def make(work):
        ingest([file], work, SourceConfig())
        return {
            "sources": [
                {
                    "name": source.name,
                    "bytes": source.bytes,
                    "sha256": source.sha256,
                }
            ]
        }

    return store.build(
        "ingest",
        edition,
        {},
        {"file": source.sha256},
        make,
    ).artifact


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def of(tmp_path, name):
    return SourceConfig(input=(str(tmp_path / f"{name}.jsonl"),))


def test_each_reason_has_its_first_example(store):
    rows = summarise([ingested(store, "one", LINES).folder / "quarantine.parquet"])
    assert [(row["reason"], row["records"], row["line"]) for row in rows] == [
        ("malformed", 3, 3),
        ("bad_stars", 1, 2),
        ("encoding", 1, 4),
    ]
    assert rows[0]["raw"] == "502 Bad Gateway"
    assert "\ufffd" in rows[2]["raw"]
    assert all(
        len(row["raw"]) <= 80 and row["source"] == "one.jsonl" and row["detail"] for row in rows
    )


def test_the_data_set_of_the_files_that_are_meant_is_looked_at_whichever_is_newest(store, tmp_path):
    mine = ingested(store, "mine", LINES)
    ingested(store, "other", LINES[:1])
    assert data_set_of(store, of(tmp_path, "mine")) == mine
    assert data_set_of(store, SourceConfig(), mine.digest) == mine
    (tmp_path / "mine.jsonl").write_bytes(LINES[0])  # a file that has changed since is another one
    with pytest.raises(EmptyInput, match="not been ingested yet"):
        data_set_of(store, of(tmp_path, "mine"))


def test_without_a_name_the_newest_data_set_is_meant(store):
    with pytest.raises(EmptyInput, match="Nothing has been ingested"):
        newest_data_set(store)
    ingested(store, "mine", LINES)
    other = ingested(store, "other", LINES[:1])
    assert newest_data_set(store) == other


def test_a_damaged_quarantine_is_an_error(store, tmp_path):
    file = ingested(store, "mine", LINES).folder / "quarantine.parquet"
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    with pytest.raises(Damaged, match=r"quarantine\.parquet"):
        data_set_of(store, of(tmp_path, "mine"))


GOOD = b'{"text": "fine", "review_id": "a"}\n'


UNUSABLE: list[tuple[str, bytes, type[InputError]]] = [
    ("r.csv", b"id,body,score\n1,nice,5\n", MissingColumn),
    ("r.csv.gz", gzip.compress(b"id,body,score\n1,nice,5\n"), MissingColumn),
    ("r.tar.gz", packed_tar({"yelp/review.json": b'{"body": "nice"}\n'}), MissingColumn),
    ("r.tar.gz", packed_tar({"readme.md": b"nothing"}), EmptyInput),
    ("r.csv", b"", EmptyInput),
    ("r.json.gz", gzip.compress(b""), EmptyInput),
    ("r.csv", b"review_id,text\n", EmptyInput),
    ("r.json", b"[", Unreadable),
    ("r.json.gz", b"\x1f\x8b nonsense", Unreadable),
    ("r.jsonl", '{"text": "wide"}'.encode("utf-16"), Unreadable),
    ("r", b"\x7fELF", Unreadable),
]


@pytest.mark.parametrize(
    ("name", "content", "kind"), UNUSABLE, ids=[str(number) for number in range(len(UNUSABLE))]
)
def test_the_error_is_that_of_the_run(
    tmp_path: Path,
    name: str,
    content: bytes,
    kind: type[InputError],
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(content)
    with pytest.raises(kind) as early:
        require_usable([folder / name], SourceConfig())
    with pytest.raises(kind) as late:
        ingest([folder / name], tmp_path / "out", SourceConfig())
    assert (early.value.what, early.value.where) == (late.value.what, late.value.where)
    assert (early.value.value, early.value.cause) == (late.value.value, late.value.cause)
    if Path(name).suffix:  # of a folder, only files named like data are read
        with pytest.raises(kind):
            require_usable([folder], SourceConfig())


def test_only_beginnings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reviewlm.corpus.ingestion.ingest.BLOCK_BYTES", 1000)
    large, broken = tmp_path / "a.jsonl", tmp_path / "b.csv"
    large.write_bytes(10_000 * GOOD)
    broken.write_bytes(b"id,body\n1,nice\n")
    monkeypatch.setattr(module, "MOST_BYTES", 1)
    require_usable([large, broken], SourceConfig())  # `broken` is left to the run
    monkeypatch.setattr(module, "MOST_BYTES", 10_000)
    with pytest.raises(MissingColumn):
        require_usable([large, broken], SourceConfig())
    cut = tmp_path / "r.jsonl.gz"
    cut.write_bytes(gzip.compress(100_000 * GOOD)[:-20])
    require_usable([cut], SourceConfig())
