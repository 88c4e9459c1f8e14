"""A disk error of `models` becomes the project's own, with advice for its cause."""

from __future__ import annotations

import errno
import os

import pytest

from core.errors import ArtifactError, NotWritable, ReviewLMError, StoreFull
from core.model_errors import converted_errors
from models.base import ModelError

SPACE, PERMISSIONS = "free some space, or name another", "check the path and its permissions, or name another"


@pytest.mark.parametrize(("number", "kind", "advice"), [
    (errno.ENOSPC, StoreFull, SPACE), (errno.EDQUOT, StoreFull, SPACE),
    (errno.EACCES, NotWritable, PERMISSIONS), (errno.EPERM, NotWritable, PERMISSIONS),
    (errno.EROFS, NotWritable, PERMISSIONS), (errno.EIO, ArtifactError, PERMISSIONS),
])  # fmt: skip
def test_space_is_asked_for_only_if_the_disk_is_full(number: int, kind: type, advice: str) -> None:
    with pytest.raises(ReviewLMError) as error, converted_errors("model"):
        raise ModelError("model cannot be written", kind="disk") from OSError(number, os.strerror(number))
    assert (type(error.value), error.value.remedy) == (kind, f"{advice} place")
