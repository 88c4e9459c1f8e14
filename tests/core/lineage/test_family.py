"""Data families: their names and tags."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from core.config.presets import load_config
from core.errors import ConfigError
from core.lineage.family import Family, digest_of_sources
from corpus.ingestion.ingest import settings_of


@pytest.mark.parametrize("name", ["-x", "x" * 101, "a/b", "unknown", "a\tb"])
def test_a_family_has_a_name_like_any_other(name: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.family"):
        load_config("small", [f"source.family={name!r}"])


def test_plain_names_are_taken_and_none_is_the_default() -> None:
    assert load_config("small").source.family == ""
    assert load_config("small", ["source.family=Yelp-2022_v1.1"]).source.family == "Yelp-2022_v1.1"


def test_a_family_is_no_option_of_any_stage_that_reads_the_data() -> None:
    """Its name changes no digest: nothing is read, cleaned or fitted again because it was given one."""
    plain, named = load_config("small").source, load_config("small", ["source.family=yelp"]).source
    assert settings_of(plain) == settings_of(named)


def test_the_digest_is_of_the_set_of_raw_files(own_home: Path) -> None:
    assert digest_of_sources(["b", "a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert digest_of_sources([]) == ""


def test_a_family_comes_back_from_its_tags_and_is_unknown_without_any() -> None:
    family = Family("yelp", "s")
    assert Family.of_tags(family.tags()) == family
    assert not Family.of_tags({}).known
