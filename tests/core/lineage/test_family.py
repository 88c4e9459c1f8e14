"""Data families: their names and tags."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from core.config.presets import load_config
from core.errors import ConfigError
from core.lineage.record import digest_of_sources


@pytest.mark.parametrize("name", ["-x", "x" * 101, "a/b", "unknown", "a\tb"])
def test_a_family_has_a_name_like_any_other(name: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.family"):
        load_config("small", [f"source.family={name!r}"])


def test_the_digest_is_of_the_set_of_raw_files(own_home: Path) -> None:
    assert digest_of_sources(["b", "a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert digest_of_sources([]) == ""
