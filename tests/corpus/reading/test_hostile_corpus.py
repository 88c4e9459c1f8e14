"""Every hostile file ends as it should: good records are read, the others are in quarantine, or an error says why."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import InputError, ReviewLMError
from reviewlm.corpus.reading.sources import source_names
from tests.corpus import data_sets
from tests.corpus.data_sets import ingest
from tests.corpus.hostile_files import BAD_LINES, HOSTILE, LINES, Hostile
from tests.corpus.review_files import json_lines, review
from tests.examples import examples
from tests.marked_cases import slow_but


def ingested(folder: Path, case: Hostile) -> tuple[dict, pl.DataFrame, pl.DataFrame]:
    """Facts, rows and quarantine of an ingestion of one file."""
    source = folder / case.name
    source.write_bytes(case.whole)
    return data_sets.ingested([source], folder / "out", **case.settings)


@pytest.mark.parametrize(
    "name", slow_but(HOSTILE, set(HOSTILE) - {"a gzip bomb", "a gzip bomb in two layers"})
)
def test_a_hostile_file_ends_as_it_should(tmp_path, name):
    case = HOSTILE[name]
    if case.error is not None:
        with pytest.raises(case.error) as caught:
            ingested(tmp_path, case)
        assert case.says in str(caught.value)
        assert "reviews.jsonl" in str(caught.value) or case.name in str(caught.value)
        return
    facts, rows, quarantine = ingested(tmp_path, case)
    assert rows.height == case.good
    assert tuple(quarantine.sort("line").select("line", "reason").rows()) == case.bad
    assert facts["records"] == case.good + len(case.bad)
    assert all(quarantine["raw"].bin.size() > 0)
    assert all(raw in case.whole for raw in quarantine["raw"]) or name not in LINES


def test_nothing_of_an_archive_is_written_beside_the_result(tmp_path):
    before = set(Path("/tmp").glob("review.json")) | set(tmp_path.parent.glob("review.json"))
    for name in ("a way out of a tar", "an absolute path in a tar", "a way out of a zip"):
        (tmp_path / name).mkdir()
        ingested(tmp_path / name, HOSTILE[name])
    assert (
        set(Path("/tmp").glob("review.json")) | set(tmp_path.parent.glob("review.json")) == before
    )
    assert not list(tmp_path.rglob("review.json"))


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "reviews.jsonl")
    with pytest.raises(InputError, match=r"reviews\.jsonl"):
        ingest(list(source_names([tmp_path / "reviews.jsonl"])), tmp_path / "out", SourceConfig())


def test_a_link_into_nowhere_is_named(tmp_path):
    (tmp_path / "reviews.jsonl").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"reviews\.jsonl"):
        ingest(list(source_names([tmp_path / "reviews.jsonl"])), tmp_path / "out", SourceConfig())


lines = st.lists(
    st.one_of(
        st.integers(0, 8).map(lambda number: json_lines([review(number)])[:-1]),
        st.sampled_from(BAD_LINES),
        st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"")),
    ),
    min_size=1,
    max_size=25,
)


@given(lines, st.integers(0, 3))
@examples(60)
def test_of_any_lines_each_is_a_row_or_in_quarantine_or_a_declared_duplicate(lines, part_rows):
    content = b"\n".join(lines)
    records = sum(1 for one in lines if one.removeprefix(b"\xef\xbb\xbf").strip())
    with tempfile.TemporaryDirectory() as folder:
        try:
            facts, rows, quarantine = ingested(
                Path(folder), Hostile(content, settings={"part_rows": part_rows + 1})
            )
        except ReviewLMError:
            return
        assert facts["records"] == records
        assert facts["records"] == facts["rows"] + facts["quarantined"] + facts["duplicates"]
        assert (rows.height, quarantine.height) == (
            facts["rows"],
            facts["quarantined"] + facts["duplicates"],
        )
