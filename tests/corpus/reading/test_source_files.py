"""Which files of a folder are found, and when a file is known without being read."""

from __future__ import annotations

import logging
import os
import time

import pytest

from core.errors import Unreadable
from corpus.reading.sources import identify, source_names


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


def test_a_linked_folder_is_not_followed_and_the_log_says_so(tmp_path, caplog):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jsonl").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.jsonl").touch()
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    with caplog.at_level(logging.WARNING):
        assert list(source_names([tmp_path / "in"])) == [tmp_path / "in" / "b.jsonl"]
    assert "linked is a link to a folder" in caplog.text


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


READ = ["tip_top_diner.csv", "photo_cafe.jsonl", "user_feedback.csv", "user_reviews.json", "downtown.csv", "part-0"]


class TestMemory:
    """Digests are remembered, but never of another content."""

    def test_a_file_that_did_not_change_is_not_read_again(self, tmp_path, monkeypatch):
        (tmp_path / "a").write_bytes(b"12345")
        first = identify(tmp_path / "a", "a", tmp_path / "memory")
        monkeypatch.setattr("corpus.reading.sources.sha256_of_file", lambda path: pytest.fail("it was read again"))
        assert identify(tmp_path / "a", "a", tmp_path / "memory") == first

    def test_other_bytes_with_the_old_size_and_time_are_another_file(self, tmp_path):
        (tmp_path / "a").write_bytes(b"12345")
        first, before = identify(tmp_path / "a", "a", tmp_path / "memory"), (tmp_path / "a").stat()
        time.sleep(0.05)
        (tmp_path / "a").write_bytes(b"54321")
        os.utime(tmp_path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert identify(tmp_path / "a", "a", tmp_path / "memory").sha256 != first.sha256

    def test_what_a_loss_of_power_left_of_the_memory_is_no_digest(self, tmp_path):
        (tmp_path / "a").write_bytes(b"12345")
        first = identify(tmp_path / "a", "a", tmp_path / "memory")
        for kept in (tmp_path / "memory").iterdir():
            kept.write_bytes(b"")
        assert identify(tmp_path / "a", "a", tmp_path / "memory") == first
