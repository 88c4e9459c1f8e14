"""The list of forgotten reviews: only hashes, asked by every reading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import Unreadable
from reviewlm.corpus.ingestion.forgotten import FILE, Forgotten
from reviewlm.corpus.ingestion.ingest import read_source
from reviewlm.corpus.reading import sources
from reviewlm.corpus.reading.sources import PACK, all_sources
from tests.corpus.review_files import in_formats

RECORDS = [
    {
        "review_id": f"r{number}",
        "user_id": f"user-{number % 3}",
        "stars": 4,
        "text": f"text {number}",
    }
    for number in range(9)
]


def left_out(facts: dict[str, Any]) -> int:
    return sum(entry["count"] for entry in facts["entries"] if entry["kind"] == "forgotten")


def read_with(
    forgotten: Forgotten,
    file: Path,
    folder: Path,
) -> dict[str, Any]:
    [source] = all_sources([file])
    return read_source(source, folder, SourceConfig(), forgotten=forgotten).facts


@pytest.mark.parametrize("name", in_formats(RECORDS))
def test_records_of_the_list_are_left_out_of_every_format(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(in_formats(RECORDS)[name])
    facts = read_with(Forgotten().plus(["r1"], ["user-0"]), tmp_path / name, tmp_path / "out")
    assert (facts["records"], facts["rows"], left_out(facts)) == (9, 5, 4)


@pytest.mark.parametrize(
    ("raw", "goes"),
    [
        ('{"user_id": "7", "text": 5}', True),
        ('{"user_id": 7, "text": null}', True),
        ('{"user_id": "70", "text": 5}', False),
        ('{"stars": 7, "text": 5}', False),
        ('{"user_id": "long-user-id", "text"', True),
        ('{"user_id": "long-user-id-2", "text"', False),
    ],
)
def test_of_records_that_cannot_be_read_those_with_an_id_of_the_list_go(
    raw: str,
    goes: bool,
    tmp_path: Path,
) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "good"}}\n{raw}\n')
    forgotten = Forgotten().plus([], ["7", "long-user-id"])
    facts = read_with(forgotten, tmp_path / "a.jsonl", tmp_path / "out")
    assert (facts["quarantined"], left_out(facts)) == (int(not goes), int(goes))


@pytest.fixture
def listed() -> Forgotten:
    return Forgotten().plus(["secret-review"], ["secret-user"]).with_files(["f" * 64], ["x"])


def test_the_list_holds_no_id(listed: Forgotten, tmp_path: Path) -> None:
    listed.save(tmp_path)
    assert "secret" not in (tmp_path / FILE).read_text()


def test_the_list_is_read_back(listed: Forgotten, tmp_path: Path) -> None:
    listed.save(tmp_path)
    assert Forgotten.of(tmp_path) == listed


def test_two_lists_of_the_same_id_differ() -> None:
    assert Forgotten().plus(["a"], []).reviews != Forgotten().plus(["a"], []).reviews


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 9}'])
def test_a_damaged_list_is_an_error_because_reviews_would_come_back(
    content: str, tmp_path: Path
) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(Unreadable):
        Forgotten.of(tmp_path)


def test_a_file_is_read_again_when_more_of_its_records_are_forgotten() -> None:
    none = Forgotten()
    first = none.with_files(["file"], ["a"])
    second = first.with_files(["file"], ["b"])
    options = [one.options("file")["forgotten"] for one in (first, second)]
    assert none.options("file") == {}
    assert options[0] != options[1]
    assert second.options("other") == {}


def test_the_archive_of_small_files_does_not_keep_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MANY_SMALL_FILES", 1)
    (tmp_path / "in").mkdir()
    for record in RECORDS:
        (tmp_path / "in" / f"{record['review_id']}.jsonl").write_text(json.dumps(record))
    kept = read_with(Forgotten(), tmp_path / "in", tmp_path / "kept")
    assert (tmp_path / "kept" / PACK).is_file()
    left = read_with(Forgotten().plus(["r3"], []), tmp_path / "in", tmp_path / "left")
    assert (kept["rows"], left["rows"]) == (9, 8)
    assert not any(b"text 3" in file.read_bytes() for file in (tmp_path / "left").rglob("*.*"))


def test_no_sample_of_a_forgotten_text_stays_in_the_account(tmp_path: Path) -> None:
    rows = [
        *RECORDS,
        {
            "review_id": "x",
            "user_id": "gone",
            "text": "My secret cafÃ©.",
        },
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = read_with(Forgotten(), tmp_path / "r.jsonl", tmp_path / "before")
    after = read_with(Forgotten().plus([], ["gone"]), tmp_path / "r.jsonl", tmp_path / "after")
    assert "secret" in json.dumps(before["entries"])
    assert "secret" not in json.dumps(after["entries"])
