"""Where a result was made, and the error classes of `models`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from reviewlm.core.errors import NotWritable, ReviewLMError, StoreFull, converted_errors
from reviewlm.core.provenance import code_digest, differences, made_with
from reviewlm.models.base import ModelError


def test_any_changed_byte_or_name_of_the_code_changes_its_digest(tmp_path: Path) -> None:
    digests = []
    for folder, file, text in (
        ("a", "x.py", "1"),
        ("b", "x.py", "2"),
        ("c", "y.py", "1"),
        ("d", "x.py", "1"),
    ):
        (tmp_path / folder / "models").mkdir(parents=True)
        (tmp_path / folder / "models" / file).write_text(text)
        (tmp_path / folder / "models" / "notes.txt").write_text(folder)
        digests.append(code_digest(tmp_path / folder))
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


def test_equal_platforms_do_not_differ() -> None:
    assert differences(made_with(), made_with()) == []


def test_platforms_differ_by_library() -> None:
    now = made_with()
    [found] = differences({**now, "libraries": {**now["libraries"], "torch": "1.0"}}, now)
    assert found.startswith("torch:")
    assert "1.0 then" in found


def test_platforms_differ_by_threads() -> None:
    now = made_with()
    [found] = differences({**now, "machine": {**now["machine"], "threads": {"A": "3"}}}, now)
    assert found.startswith("threads:")
    assert "A=3 then" in found


def test_platforms_do_not_differ_by_code() -> None:
    now = made_with()
    assert differences({**now, "code": "other"}, now) == []


def test_a_platform_that_was_not_recorded_differs() -> None:
    assert differences({}, made_with()) == ["the platform was not recorded"]


SPACE, PERMISSIONS = (
    "free some space, or name another",
    "check the path and its permissions, or name another",
)


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, StoreFull, SPACE),
        (errno.EDQUOT, StoreFull, SPACE),
        (errno.EACCES, NotWritable, PERMISSIONS),
        (errno.EPERM, NotWritable, PERMISSIONS),
        (errno.EROFS, NotWritable, PERMISSIONS),
        (errno.EIO, NotWritable, PERMISSIONS),
    ],
)
def test_space_is_asked_for_only_if_the_disk_is_full(
    number: int,
    kind: type,
    advice: str,
) -> None:
    with pytest.raises(ReviewLMError) as error, converted_errors("model"):
        raise ModelError("model cannot be written", kind="disk") from OSError(
            number, os.strerror(number)
        )
    assert (type(error.value), error.value.remedy) == (kind, f"{advice} place")
