"""Traces of a review are found in every form in which a home folder may hold it, and removed from databases."""

from __future__ import annotations

import html
import io
import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from reviewlm.corpus.traces import REMOVED, Traces, passages_of, without_common

TEXT = 'The "soup" was cold & our waiter sang the whole evening long.\nNever again, said Zoë.'
TRACES = Traces(frozenset({"review-0042", "u7"}), tuple(passages_of(TEXT)))
OTHER = "The soup was fine and our waiter smiled at everybody in the room."


def tar_of(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def parquet_of(**columns: object) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    return out.getvalue()


HOLDING = {
    "page.html": f"<p>{html.escape(TEXT)}</p>".encode(),
    "table.json": json.dumps({"text": TEXT}).encode(),
    "card.md": f"> {TEXT}".encode(),
    "run.log": f"12:00:00  review {TEXT[:70]}".encode(),
    "files.tar": tar_of(TEXT.encode()),
    "id.csv": b"review-0042,3.5\n",
    "parts.parquet": parquet_of(review_id=["a"], text=[TEXT]),
    "score.parquet": parquet_of(review_id=["review-0042"], nats=[1.5]),
    "user.parquet": parquet_of(user_id=["u7"]),
    "quarantine.parquet": parquet_of(raw=[b'{"user_id": "u7"}']),
    "cut.parquet": b"PAR1" + TEXT.encode(),
}
HARMLESS = {
    "page.html": f"<p>{OTHER}</p>".encode(),
    "short_id.csv": b"u7,u70\n",
    "parts.parquet": parquet_of(
        review_id=["review-00420"],
        user_id=["u70"],
        text=[OTHER],
    ),
    "quarantine.parquet": parquet_of(raw=[b'{"user_id": "u70", "stars": "u7"}', None]),
    "empty.json": b"",
    "weights.safetensors": TEXT.encode(),
}


@pytest.mark.parametrize("name", HOLDING)
def test_a_review_is_found_in_every_form(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(HOLDING[name])
    assert TRACES.in_file(tmp_path / name)


@pytest.mark.parametrize("name", HARMLESS)
def test_other_reviews_are_not_taken_for_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(HARMLESS[name])
    assert not TRACES.in_file(tmp_path / name)


def test_a_passage_across_the_border_of_two_pieces_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reviewlm.corpus.traces.CHUNK", 10)
    (tmp_path / "a.txt").write_text("x" * 33 + TEXT)
    assert TRACES.in_file(tmp_path / "a.txt")


def test_passages_that_others_wrote_too_are_no_traces() -> None:
    shared = "the food was great and the service was friendly"
    mine = passages_of(f"{shared}\n{TEXT}")
    left = without_common(mine, [pl.Series([f"I think {shared}, really.", None])])
    assert list(left) == passages_of(TEXT)


def test_an_excerpt_of_a_text_is_found(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(60)]
    traces = Traces(frozenset(), tuple(passages_of(" ".join(words))))
    (tmp_path / "a.txt").write_text("… " + " ".join(words[21:33]) + " …")
    assert traces.in_file(tmp_path / "a.txt")


def database(folder: Path) -> Path:
    file = folder / "a.db"
    with closing(sqlite3.connect(file)) as base, base:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute('CREATE TABLE artifact (id TEXT PRIMARY KEY, "the data" JSON, n INTEGER)')
        rows = [{"text": TEXT, "stars": 4}, {"text": OTHER, "stars": 5}]
        base.execute("INSERT INTO artifact VALUES ('a', ?, 1)", [json.dumps(rows)])
        base.execute("INSERT INTO artifact VALUES ('b', ?, 2)", [f"{OTHER}\n{TEXT}"])
        base.execute("INSERT INTO artifact VALUES ('c', ?, 3)", [TEXT])
        base.execute("DELETE FROM artifact WHERE id = 'c'")
    return file


def test_a_database_loses_only_the_strings_that_hold_it(
    tmp_path: Path,
) -> None:
    file = database(tmp_path)
    assert TRACES.in_file(file)
    assert TRACES.redact(file) == 2
    with closing(sqlite3.connect(file)) as base:
        first, second = base.execute('SELECT "the data" FROM artifact ORDER BY id').fetchall()
    assert json.loads(first[0]) == [
        {"text": REMOVED, "stars": 4},
        {"text": OTHER, "stars": 5},
    ]
    assert second[0] == f"{OTHER}\n{REMOVED}\nNever again, said Zoë."
    assert not TRACES.in_file(file)


def test_pages_of_a_database_that_were_freed_do_not_hold_it(tmp_path: Path) -> None:
    file = database(tmp_path)
    TRACES.redact(file)
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"sang the whole evening" not in left
