"""Ingestion as stages: of a growing folder only new files are read; what was replayed is there for every later run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from core.config.run_config import RunConfig
from core.config.sections.execution import ExecutionConfig
from core.config.sections.source import SourceConfig
from core.errors import Unreadable
from core.store import Artifact
from corpus.ingestion.first_look import read_labels
from corpus.ingestion.ingest import iter_parts
from corpus.ingestion.quarantine import export
from corpus.reading import packs
from tasks.data.ingest import files_of, ingest_files, replay_quarantine
from tasks.run_summary import describe_dataset
from tasks.stage import recorded_stages, stages_of_this_run


def write(path: Path, *names: str, **fields: Any) -> None:
    rows = [json.dumps({"review_id": name, "text": f"text of {name}", "stars": 4, **fields}) for name in names]
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture
def config(own_home: Path, tmp_path: Path) -> RunConfig:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.jsonl", "one", "two")
    source, execution = SourceConfig(input=(str(tmp_path / "in"),)), ExecutionConfig(home=str(own_home))
    return RunConfig(source=source, execution=execution)


def run(task: Any, *arguments: Any) -> tuple[Artifact, list[tuple[str, bool]]]:
    """Run a task's function without a server; return the artifact, and which stages were built or re-used."""
    with recorded_stages():
        result = task.fn(*arguments)
        return (result if isinstance(result, Artifact) else result.data), stages_of_this_run()


def test_of_a_growing_folder_only_the_new_file_is_read(config: RunConfig, tmp_path: Path) -> None:
    first, stages = run(ingest_files, config)
    assert stages == [("read", False), ("ingest", False)]
    assert (first.facts["rows"], first.facts["new_sources"], first.facts["reused_sources"]) == (2, 1, 0)
    write(tmp_path / "in" / "A0.jsonl", "three")
    second, stages = run(ingest_files, config)
    assert sorted(stages) == [("ingest", False), ("read", False), ("read", True)]
    assert (second.facts["rows"], second.facts["new_sources"], second.facts["reused_sources"]) == (3, 1, 1)
    again, stages = run(ingest_files, config)
    assert all(reused for _, reused in stages)
    assert (again, again.facts["new_sources"], again.facts["reused_sources"]) == (second, 0, 2)


def test_a_copy_of_a_file_is_not_read_and_changes_no_row(config: RunConfig, tmp_path: Path) -> None:
    first, _ = run(ingest_files, config)
    (tmp_path / "in" / "a (1).jsonl").write_bytes((tmp_path / "in" / "a.jsonl").read_bytes())
    second, stages = run(ingest_files, config)
    assert stages == [("read", True), ("ingest", False)]
    assert second.facts["content_sha256"] == first.facts["content_sha256"]
    assert (second.facts["records"], second.facts["duplicates"]) == (4, 2)


def test_another_limit_reads_again_and_another_clean_section_does_not(config: RunConfig) -> None:
    first, _ = run(ingest_files, config)
    source = config.source.model_copy(update={"max_chars": 5_000})
    other, _ = run(ingest_files, config.model_copy(update={"source": source}))
    assert other.digest != first.digest
    clean = config.clean.model_copy(update={"mask_personal_data": False})
    assert run(ingest_files, config.model_copy(update={"clean": clean}))[0] == first


def test_what_a_person_corrected_is_there_in_every_later_run(config: RunConfig, tmp_path: Path) -> None:
    write(tmp_path / "in" / "b.jsonl", "bad", stars="five")
    before, _ = run(ingest_files, config)
    export(before.folder / "quarantine.parquet", tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text((tmp_path / "bad.jsonl").read_text().replace('\\"five\\"', "5"))
    replayed, stages = run(replay_quarantine, config, before, tmp_path / "bad.jsonl")
    assert stages == [("ingest", False)]
    assert (replayed.facts["rows"], replayed.facts["quarantined"], replayed.facts["replayed"]) == (3, 0, 1)
    assert (before.facts["rows"], before.facts["quarantined"]) == (2, 1)
    later, stages = run(ingest_files, config)
    assert later == replayed
    assert all(reused for _, reused in stages)
    write(tmp_path / "in" / "c.jsonl", "new")
    grown, _ = run(ingest_files, config)
    assert (grown.facts["rows"], grown.facts["replayed"]) == (4, 1)


def test_a_raised_limit_brings_records_back_without_reading_their_file(config: RunConfig, tmp_path: Path) -> None:
    write(tmp_path / "in" / "b.jsonl", "long", text="x" * 200)
    strict = config.model_copy(update={"source": config.source.model_copy(update={"max_chars": 100})})
    before, _ = run(ingest_files, strict)
    (tmp_path / "in" / "b.jsonl").unlink()
    replayed, _ = run(replay_quarantine, config, before)
    assert (replayed.facts["rows"], replayed.facts["replayed"], replayed.facts["settings"]["max_chars"]) == (3, 1, 100)


@pytest.fixture
def small_files(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """40 files with one review each; more than five small files are read as archives of ten on average."""
    monkeypatch.setattr(packs, "MANY", 5)
    monkeypatch.setattr(packs, "FILES", 10)
    (tmp_path / "in" / "a.jsonl").unlink()
    for number in range(40):
        write(tmp_path / "in" / f"{number:02d}.jsonl", f"r{number}", kind="even" if number % 2 == 0 else "odd")
    return config


def test_many_small_files_make_few_results_and_of_a_new_one_few_are_read_again(
    small_files: RunConfig, tmp_path: Path
) -> None:
    first, stages = run(ingest_files, small_files)
    assert first.facts["rows"] == 40
    assert [stage for stage, _ in stages].count("read") == len(first.facts["sources"]) <= 10
    write(tmp_path / "in" / "20a.jsonl", "new")
    second, stages = run(ingest_files, small_files)
    assert second.facts["rows"] == 41
    assert stages.count(("read", False)) == 1


def test_what_is_corrected_of_a_small_file_joins_the_data_set_as_that_file(
    small_files: RunConfig, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "07.jsonl", "r7", stars="five")
    dataset, _ = run(ingest_files, small_files)
    assert dataset.facts["reasons"] == {"bad_stars": 1}
    export(dataset.folder / "quarantine.parquet", tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text((tmp_path / "bad.jsonl").read_text().replace("five", "5"))
    again, _ = run(replay_quarantine, small_files, dataset, tmp_path / "bad.jsonl")
    assert (again.facts["rows"], again.facts["quarantined"]) == (40, 0)
    rows = pl.read_parquet(again.folder / "parts" / "*.parquet").filter(review_id="r7")
    assert rows.select("source", "line", "stars").rows() == [("07.jsonl", 1, 5.0)]


def test_labels_are_read_from_the_archives_even_if_the_files_are_gone(small_files: RunConfig, tmp_path: Path) -> None:
    dataset, _ = run(ingest_files, small_files)
    for file in (tmp_path / "in").iterdir():
        file.unlink()
    write(tmp_path / "in" / "other.jsonl", "other")
    found = read_labels(files_of(small_files, dataset), iter_parts(dataset.folder), small_files.source, "kind")
    assert found.unplaced == 0
    assert found.table["label"].value_counts(sort=True, name="n")["n"].to_list() == [20, 20]


def test_too_many_damaged_small_files_end_the_run_and_few_are_set_aside(
    small_files: RunConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def damage(number: int) -> None:
        (tmp_path / "in" / f"{number:02d}.jsonl").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")

    damage(3)
    dataset, _ = run(ingest_files, small_files)
    assert (dataset.facts["rows"], dataset.facts["reasons"]) == (39, {"unreadable_file": 1})
    assert any("03.jsonl was set aside" in message for message in caplog.messages)
    assert describe_dataset(dataset)["unreadable_files"] == 1
    for number in range(4, 10):
        damage(number)
    with pytest.raises(Unreadable, match="7 of 40 files cannot be read"):
        run(ingest_files, small_files)
    for number in range(40):
        damage(number)
    with pytest.raises(Unreadable, match="Git LFS"):
        run(ingest_files, small_files)
