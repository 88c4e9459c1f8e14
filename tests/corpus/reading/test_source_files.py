"""Which files of a folder are found, and when a file is known without being read."""

from __future__ import annotations

import logging
import os

import pytest

from core.errors import Unreadable
from corpus.reading.sources import source_names


def test_a_folder_below_that_may_not_be_read_is_an_error_and_not_empty(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "a.jsonl").touch()
    (tmp_path / "b.jsonl").touch()
    real = os.scandir

    def refuse(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(Unreadable, match="locked"):
        source_names([tmp_path])


@pytest.mark.parametrize(("left_out", "level"), [
    (["notes.md", "photo.png"], "INFO"), (["yelp_academic_dataset_tip.json"], "WARNING"),
    (["reviews.json.part"], "WARNING"), (["README", "notes.md"], "WARNING"),
])  # fmt: skip
def test_what_is_left_out_is_named_once_and_is_a_warning_if_it_could_be_reviews(tmp_path, caplog, left_out, level):
    for name in ("a.jsonl", *left_out):
        (tmp_path / name).touch()
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert [path.name for path in source_names([tmp_path])] == ["a.jsonl"]
    [record] = caplog.records
    assert record.levelname == level
    assert all(name in record.message for name in left_out)
