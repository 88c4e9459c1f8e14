"""Ingestion as stages: of a growing folder only new files are read; what was corrected comes back as a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.errors import CheckFailed, EmptyInput, InputError, Unreadable
from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.account import Outcome
from reviewlm.corpus.ingestion.find_data_set import quarantine_files
from reviewlm.corpus.ingestion.ingest import iter_parts
from reviewlm.corpus.ingestion.labels_of_fields import read_labels
from reviewlm.corpus.ingestion.quarantine import export, summarise
from reviewlm.corpus.reading import sources as packs
from reviewlm.tasks.data.account import account_of
from reviewlm.tasks.data.ingest import files_of, ingest_files
from reviewlm.tasks.data.prepare import check_table
from reviewlm.tasks.execution.stage import recorded_stages
from reviewlm.tasks.records.run_summary import describe_dataset


def write(path: Path, *names: str, **fields: Any) -> None:
    rows = [
        json.dumps(
            {
                "review_id": name,
                "text": f"text of {name}",
                "stars": 4,
                **fields,
            }
        )
        for name in names
    ]
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture
def config(own_home: Path, tmp_path: Path) -> RunConfig:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.jsonl", "one", "two")
    source, execution = (
        SourceConfig(input=(str(tmp_path / "in"),)),
        ExecutionConfig(home=str(own_home)),
    )
    return RunConfig(source=source, execution=execution)


def run(task: Any, *arguments: Any) -> tuple[Artifact, list[tuple[str, bool]]]:
    """Run a task's function without a server; return the artifact, and which stages were built or re-used."""
    with recorded_stages() as record:
        result = task.fn(*arguments)
    stages = [(one.stage, one.reused) for one in record.stages]
    return (result if isinstance(result, Artifact) else result.data), stages


def test_of_a_growing_folder_only_the_new_file_is_read(config: RunConfig, tmp_path: Path) -> None:
    first, stages = run(ingest_files, config)
    assert stages == [("read", False), ("ingest", False)]
    assert (first.facts["rows"], first.facts["new_sources"], first.facts["reused_sources"]) == (
        2,
        1,
        0,
    )
    write(tmp_path / "in" / "A0.jsonl", "three")
    second, stages = run(ingest_files, config)
    assert sorted(stages) == [("ingest", False), ("read", False), ("read", True)]
    assert (second.facts["rows"], second.facts["new_sources"], second.facts["reused_sources"]) == (
        3,
        1,
        1,
    )
    again, stages = run(ingest_files, config)
    assert all(reused for _, reused in stages)
    assert (again, again.facts["new_sources"], again.facts["reused_sources"]) == (second, 0, 2)


def test_a_copy_of_a_file_is_not_read(config: RunConfig, tmp_path: Path) -> None:
    first, _ = run(ingest_files, config)
    (tmp_path / "in" / "a (1).jsonl").write_bytes((tmp_path / "in" / "a.jsonl").read_bytes())
    second, stages = run(ingest_files, config)
    assert stages == [("read", True), ("ingest", False)]
    assert second.facts["content_sha256"] == first.facts["content_sha256"]
    assert (second.facts["records"], second.facts["duplicates"]) == (4, 2)


def test_corrected_records_are_a_file_like_any_other(config: RunConfig, tmp_path: Path) -> None:
    write(tmp_path / "in" / "b.jsonl", "bad", "worse", stars="five")
    (tmp_path / "in" / "c.csv").write_text("review_id,text,stars\nlast,It was fine.,six\n")
    before, _ = run(ingest_files, config)
    assert (before.facts["rows"], before.facts["quarantined"]) == (2, 3)
    export([before.folder / "quarantine.parquet"], tmp_path / "in" / "d.jsonl")
    records = [json.loads(line) for line in (tmp_path / "in" / "d.jsonl").read_text().splitlines()]
    assert [record["quarantined"].partition(":")[0] for record in records] == [
        "b.jsonl, line 1",
        "b.jsonl, line 2",
        "c.csv, line 2",
    ]
    assert records[2]["raw"] == "last,It was fine.,six"
    records[0]["stars"] = 5
    records[2] |= {
        "review_id": "last",
        "text": "It was fine.",
        "stars": 6,
    }
    (tmp_path / "in" / "d.jsonl").write_text(
        "".join(json.dumps(record) + "\n" for record in records)
    )
    after, stages = run(ingest_files, config)
    assert stages.count(("read", False)) == 1
    assert (after.facts["rows"], after.facts["quarantined"]) == (4, 4), (
        "what was not corrected is set aside again"
    )
    rows = pl.read_parquet(after.folder / "parts" / "*.parquet").filter(
        pl.col("source") == "d.jsonl"
    )
    assert rows.select("review_id", "stars").rows() == [("bad", 5.0), ("last", 6.0)]


def test_the_quarantine_is_found_where_no_record_was_good(
    config: RunConfig, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "b.jsonl", "two", date="in March 2012")
    write(tmp_path / "in" / "a.jsonl", "one", stars="five")
    with pytest.raises(EmptyInput, match="data quarantine show"):
        run(ingest_files, config)
    rows = summarise(quarantine_files(Store.of(config.home), config.source))
    assert [(row["reason"], row["records"]) for row in rows] == [("bad_date", 1), ("bad_stars", 1)]


def test_where_nothing_is_to_be_corrected_the_empty_file_changes_nothing(
    config: RunConfig, tmp_path: Path
) -> None:
    before, _ = run(ingest_files, config)
    assert (
        export([before.folder / "quarantine.parquet"], tmp_path / "in" / "d.jsonl")["records"] == 0
    )
    after, _ = run(ingest_files, config)
    assert after.facts["content_sha256"] == before.facts["content_sha256"]


@pytest.fixture
def small_files(
    config: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> RunConfig:
    """40 files with one review each; more than five small files are read as archives of ten on average."""
    monkeypatch.setattr(packs, "MANY_SMALL_FILES", 5)
    monkeypatch.setattr(packs, "FILES", 10)
    (tmp_path / "in" / "a.jsonl").unlink()
    for number in range(40):
        write(
            tmp_path / "in" / f"{number:02d}.jsonl",
            f"r{number}",
            kind="even" if number % 2 == 0 else "odd",
        )
    return config


def test_many_small_files_make_few_results(small_files: RunConfig) -> None:
    dataset, stages = run(ingest_files, small_files)
    assert dataset.facts["rows"] == 40
    assert [stage for stage, _ in stages].count("read") == len(dataset.facts["sources"]) <= 10


def test_of_a_new_small_file_few_others_are_read_again(
    small_files: RunConfig, tmp_path: Path
) -> None:
    run(ingest_files, small_files)
    write(tmp_path / "in" / "20a.jsonl", "new")
    dataset, stages = run(ingest_files, small_files)
    assert dataset.facts["rows"] == 41
    assert stages.count(("read", False)) == 1


def test_a_bad_file_of_a_folder_that_has_grown_fails_the_check(
    small_files: RunConfig, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "good.jsonl", *map(str, range(3_000)))
    write(tmp_path / "in" / "ten.jsonl", *(f"t{n}" for n in range(20)), stars=8)
    write(tmp_path / "in" / "week.jsonl", *(f"w{n}" for n in range(20)), date="in March 2012")
    dataset, _ = run(ingest_files, small_files)
    with pytest.raises(CheckFailed, match=r"20 of 20 in week\.jsonl.*20 of 20 in ten\.jsonl"):
        check_table.fn(small_files, "raw", dataset)


def test_labels_are_read_from_the_archives_even_if_the_files_are_gone(
    small_files: RunConfig, tmp_path: Path
) -> None:
    dataset, _ = run(ingest_files, small_files)
    for file in (tmp_path / "in").iterdir():
        file.unlink()
    write(tmp_path / "in" / "other.jsonl", "other")
    labels = read_labels(
        files_of(small_files.home, small_files.source, dataset),
        iter_parts(dataset.folder),
        small_files.source,
        "kind",
    )
    assert labels.height == 40
    assert labels["label"].value_counts(sort=True, name="n")["n"].to_list() == [20, 20]


def replace_by_pointers(folder: Path, numbers: Iterable[int]) -> None:
    """Write pointers of Git LFS in place of small files."""
    for number in numbers:
        pointer = b"version https://git-lfs.github.com/spec/v1\n"
        (folder / f"{number:02d}.jsonl").write_bytes(pointer)


def test_a_damaged_small_file_is_set_aside(
    small_files: RunConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    replace_by_pointers(tmp_path / "in", [3])
    dataset, _ = run(ingest_files, small_files)
    assert (dataset.facts["rows"], dataset.facts["reasons"]) == (39, {"unreadable_file": 1})
    assert any("03.jsonl was set aside" in message for message in caplog.messages)
    assert describe_dataset(dataset)["unreadable_files"] == 1


@pytest.mark.parametrize(
    ("damaged", "said"),
    [(range(3, 10), "7 of 40 files cannot be read"), (range(40), "Git LFS")],
    ids=["seven", "all"],
)
def test_too_many_damaged_small_files_end_the_run(
    damaged: range,
    said: str,
    small_files: RunConfig,
    tmp_path: Path,
) -> None:
    replace_by_pointers(tmp_path / "in", damaged)
    with pytest.raises(Unreadable, match=said):
        run(ingest_files, small_files)


def test_of_equal_records_those_of_the_file_read_later_stay_whatever_its_name(
    config: RunConfig, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "z.jsonl", "late", user_id="u", date="2023-05-01")
    run(ingest_files, config)
    (tmp_path / "in" / "0.jsonl").write_text(
        json.dumps(
            {
                "review_id": "late",
                "text": "restated",
                "user_id": "u",
                "date": "2023-05-01",
            }
        )
    )
    dataset, _ = run(ingest_files, config)
    rows = pl.concat(iter_parts(dataset.folder)).filter(review_id="late")
    assert rows["text"].to_list() == ["restated"]
    rebuilt = config.model_copy(
        update={"execution": config.execution.model_copy(update={"rebuild": ("read", "ingest")})}
    )
    again, _ = run(ingest_files, rebuilt)
    assert again.facts["content_sha256"] == dataset.facts["content_sha256"]


def test_the_account_of_a_run_has_what_was_found_beside_the_files(
    config: RunConfig,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "in" / "gone.jsonl").symlink_to("nowhere")
    with pytest.raises(Unreadable, match=r"gone\.jsonl"):
        run(ingest_files, config)
    skipping = config.model_copy(
        update={"source": config.source.model_copy(update={"skip_missing": True})}
    )
    dataset, _ = run(ingest_files, skipping)
    account = account_of(dataset)
    assert (account.read, account.used, account.count(Outcome.NOT_READ)) == (2, 2, 1)
    assert any("gone.jsonl" in record.message for record in caplog.records)


def test_too_many_ids_of_other_reviews_are_refused_also_after_a_run_that_allowed_them(
    config: RunConfig, tmp_path: Path
) -> None:
    write(tmp_path / "in" / "b.jsonl", "one", "two", user_id="somebody else")
    write(tmp_path / "in" / "a.jsonl", "one", "two", user_id="somebody")
    allowing = config.model_copy(
        update={"source": config.source.model_copy(update={"max_reused_ids": 1.0})}
    )
    assert run(ingest_files, allowing)[0].facts["rows"] == 4
    with pytest.raises(InputError, match="2 of 4"):
        run(ingest_files, config)
