"""The first look at files: what they hold and lack, exactly for small ones, estimated for large ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import Unreadable
from reviewlm.corpus.account import Outcome
from reviewlm.corpus.ingestion.first_look import FirstLook, look_at
from reviewlm.corpus.schema import ReadingOptions

GOOD = {
    "review_id": "a",
    "stars": 5,
    "text": "Great tacos.",
    "date": "2019-05-01",
}


def written(file: Path, *rows: Any) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def look(tmp_path: Path) -> FirstLook:
    """The first look at two small files."""
    first = written(
        tmp_path / "a.jsonl",
        GOOD,
        {
            **GOOD,
            "date": "2020-12-31",
            "stars": 4,
        },
        7,
    )
    second = written(tmp_path / "b.jsonl", {"text": "Cold soup.", "stars": 11}, {"text": "Hm?"})
    return look_at([first, second], ReadingOptions())


def test_small_files_are_counted_whole(look: FirstLook) -> None:
    assert (look.files, look.whole, look.records) == (2, True, 5)
    assert (look.account.read, look.account.used) == (5, 4)
    assert look.account.kinds(Outcome.SET_ASIDE) == {"not_a_record": 1}


def test_the_look_says_how_often_each_field_is_filled(look: FirstLook) -> None:
    assert look.fields == {
        "review_id": 0.5,
        "user_id": 0,
        "business_id": 0,
        "stars": 0.75,
        "text": 1,
        "date": 0.5,
    }


def test_the_look_summarises_ratings_with_dates(look: FirstLook) -> None:
    assert look.stars == {
        "4": 1,
        "5": 1,
        "none": 1,
        "other": 1,
    }
    assert look.months == ("2019-05", "2020-12")
    assert look.bytes_of_review == pytest.approx((13 + 13 + 11 + 4) / 4)


def test_of_large_files_the_beginning_gives_the_number_of_all(tmp_path: Path) -> None:
    rows = [{**GOOD, "review_id": f"{number:06}"} for number in range(4_000)]
    file = written(tmp_path / "a.jsonl", *rows)
    look = look_at([file], ReadingOptions(block_bytes=16_384, workers=1), most=500)
    assert not look.whole
    assert 500 <= look.account.read < 3_000
    assert look.records == pytest.approx(4_000, rel=0.3)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(b"\x1f\x8b\x08 broken")
    with pytest.raises(Unreadable):
        look_at([str(tmp_path / "a.csv.gz")], ReadingOptions())


def test_the_first_record_of_each_reason_is_named_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(json.dumps(GOOD).encode() + b'\nnot json\n{"stars": 3}\n\xff\xfe\nnot json\n')
    look = look_at([str(file)], ReadingOptions())
    lines = {entry.kind: entry.detail.partition(":")[0] for entry in look.account.entries}
    assert lines == {
        "malformed": "line 2",
        "missing_text": "line 3",
        "encoding": "line 4",
    }


def test_bytes_of_another_encoding_are_called_no_utf_8_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json.dumps(GOOD).encode() + b'\n{"text": "caf\xe9"}\n')
    (entry,) = look_at([str(tmp_path / "a.jsonl")], ReadingOptions()).account.entries
    assert "not UTF-8" in entry.detail
    assert "0xe9" in entry.detail
    assert "surrogate" not in entry.detail
