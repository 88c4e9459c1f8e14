"""Data families: their names, and how they are told of versions from before there were any."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from core.config.presets import load_config
from core.errors import ConfigError
from core.lineage.family import Family, digest_of_sources, recorded_family
from core.lineage.record import Lineage, Step
from corpus.ingestion.ingest import settings_of
from tests.core.made_lineage import made_lineage


def record_of(own_home: Path, source: dict[str, object], *stages: str) -> Lineage:
    """A record of a version made from one file, which other stages may have written."""
    made, _ = made_lineage(own_home)
    others = tuple(Step(stage, "d", 1, {}, {"replay:aa:1": "r1", "00000:x": "read1"}, {}, {}) for stage in stages)
    [read] = [step for step in made.steps if step.stage == "read"]
    read = replace(read, inputs={"file": "f1"})
    return replace(made, configuration={"source": source}, steps=(*others, read))


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


@pytest.mark.parametrize(
    ("source", "stages", "own", "name"),
    [
        ({"input": ["a.csv"], "family": "yelp"}, (), True, "yelp"),
        ({"input": ["a.csv"]}, (), True, "reviews"),
        ({"input": []}, (), True, "synthetic"),
        ({"input": ["today.csv"], "family": "yelp"}, ("synthesise",), False, "synthetic"),
        ({"input": []}, (), False, "reviews"),
    ],
)
def test_a_record_tells_the_family_of_an_older_version(
    own_home: Path, source: dict[str, object], stages: tuple[str, ...], own: bool, name: str
) -> None:
    """One that was put together from the store has the configuration of today, which says nothing of then."""
    assert recorded_family(record_of(own_home, source, *stages), own).name == name


def test_the_digest_is_of_the_set_of_raw_files_and_replays(own_home: Path) -> None:
    told = recorded_family(record_of(own_home, {"input": ["a.csv"]}, "ingest"))
    assert told.sources == hashlib.sha256(b"f1\nr1").hexdigest()
    assert digest_of_sources(["b", "a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()
    assert digest_of_sources([]) == ""


def test_a_family_comes_back_from_its_tags_and_is_unknown_without_any() -> None:
    family = Family("yelp", "s")
    assert Family.of_tags(family.tags()) == family
    assert not Family.of_tags({}).known
