"""A file that cannot be read to its end is set aside as a whole, and the run goes on with the others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.errors import Unreadable
from reviewlm.core.lineage import step_of
from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.ingestion.find_data_set import data_set_of
from reviewlm.corpus.ingestion.look_before import require_usable
from reviewlm.corpus.ingestion.quarantine import export, summarise
from reviewlm.tasks.data import ingest as module
from reviewlm.tasks.data.ingest import files_of, ingest_files
from reviewlm.tasks.execution.stage import recorded_stages
from reviewlm.tasks.records.gather import Gathering
from reviewlm.tasks.records.reproduce import Reproduction
from reviewlm.tasks.records.run_summary import describe_dataset

FILES = 12


def lines(number: int) -> bytes:
    return b"".join(
        json.dumps(
            {
                "review_id": f"{number}-{each}",
                "text": f"Meal {number} {each} was good.",
                "stars": 4,
            }
        ).encode()
        + b"\n"
        for each in range(20)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        (tmp_path / "in" / f"{number:02d}.jsonl.gz").write_bytes(gzip.compress(lines(number)))
    return tmp_path / "in"


@pytest.fixture
def config(folder: Path, own_home: Path) -> RunConfig:
    source, execution = SourceConfig(input=(str(folder),)), ExecutionConfig(home=str(own_home))
    return RunConfig(source=source, execution=execution)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(
        module, "announce", lambda event, model_name, payload: told.append(payload["sentence"])
    )
    return told


def run(config: RunConfig) -> tuple[Artifact, list[tuple[str, bool]]]:
    with recorded_stages() as record:
        result: Any = ingest_files.fn(config)
    stages = [(one.stage, one.reused) for one in record.stages]
    return (result if isinstance(result, Artifact) else result.data), stages


def damage(*files: Path) -> None:
    for file in files:
        file.write_bytes(file.read_bytes()[:-30])


@pytest.mark.drill(
    "poison file", "one of many files is cut off", "set aside and told; the others are read"
)
def test_a_cut_off_file_is_set_aside_among_others(
    config: RunConfig,
    folder: Path,
    events: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(folder / "03.jsonl.gz")
    dataset, _ = run(config)
    facts = dataset.facts
    assert (facts["rows"], facts["quarantined"], facts["duplicates"]) == ((FILES - 1) * 20, 1, 0)
    assert facts["records"] == facts["rows"] + facts["quarantined"]
    [entry] = [one for one in facts["sources"] if "set_aside" in one]
    assert (entry["name"], entry["rows"]) == ("03.jsonl.gz", 0)
    assert entry["set_aside"]["what"] == "The file is damaged or was cut off"
    [row] = summarise([dataset.folder / "quarantine.parquet"])
    assert (row["reason"], row["records"], row["source"]) == ("unreadable_file", 1, "03.jsonl.gz")
    assert "damaged or was cut off" in row["detail"]
    assert describe_dataset(dataset)["unreadable_files"] == 1
    assert any("03.jsonl.gz was set aside" in message for message in caplog.messages)
    assert [said.partition(":")[0] for said in events] == ["03.jsonl.gz was set aside"]


def test_it_is_not_read_again_until_its_bytes_change(
    config: RunConfig,
    folder: Path,
    events: list[str],
) -> None:
    whole = (folder / "03.jsonl.gz").read_bytes()
    before, _ = run(config)
    damage(folder / "03.jsonl.gz")
    run(config)
    again, stages = run(config)
    assert all(reused for _, reused in stages)
    assert len(events) == 1, "told once, not at each run"
    assert data_set_of(Store.of(config.home), config.source).digest == again.digest
    (folder / "03.jsonl.gz").write_bytes(whole)
    mended, _ = run(config)
    assert mended == before
    assert "unreadable_files" not in describe_dataset(mended)


def test_a_single_damaged_file_is_the_error_that_it_was(config: RunConfig, folder: Path) -> None:
    for file in sorted(folder.iterdir())[1:]:
        file.unlink()
    damage(folder / "00.jsonl.gz")
    for _ in range(2):
        with pytest.raises(Unreadable, match="damaged or was cut off") as caught:
            run(config)
        assert caught.value.where == str(folder / "00.jsonl.gz")
        assert caught.value.value == "0 records were read before the damage"
    assert list(Store.of(config.home).all("read")) == []


def test_more_damaged_files_than_the_limit_allows_end_the_run(
    config: RunConfig, folder: Path
) -> None:
    damage(folder / "03.jsonl.gz", folder / "07.jsonl.gz")
    with pytest.raises(
        Unreadable, match=f"2 of {FILES} files cannot be read.*(?s:.*)source.max_unreadable"
    ):
        run(config)
    assert list(Store.of(config.home).all("ingest")) == []
    allowed = config.model_copy(
        update={"source": config.source.model_copy(update={"max_unreadable": 0.2})}
    )
    assert run(allowed)[0].facts["rows"] == (FILES - 2) * 20
    none = config.model_copy(
        update={"source": config.source.model_copy(update={"max_unreadable": 0.0})}
    )
    (folder / "07.jsonl.gz").unlink()
    with pytest.raises(Unreadable, match=f"1 of {FILES - 1} files cannot be read"):
        run(none)


def test_a_disk_that_fails_says_nothing_about_the_file(
    config: RunConfig,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(source: Any, *_: Any) -> Any:
        monkeypatch.setattr("reviewlm.corpus.reading.sources.sha256_of", lost)
        raise Unreadable(
            "The file is damaged or was cut off", where=source.path, cause="Input/output error"
        )

    def lost(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "read_source", fail)
    with pytest.raises(Unreadable, match="The input cannot be read"):
        run(config)
    assert list(Store.of(config.home).all("read")) == []


def test_a_file_that_is_still_written_ends_the_run_as_before(
    config: RunConfig,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(source: Any, *_: Any) -> Any:
        if source.name == "03.jsonl.gz":
            source.path.write_bytes(source.path.read_bytes() + b"more")
            raise Unreadable("The file is damaged or was cut off", where=source.path)
        return original(source, *_)

    original = module.read_source
    monkeypatch.setattr(module, "read_source", read)
    with pytest.raises(Unreadable, match="changed while it was being read"):
        run(config)


def test_what_was_set_aside_cannot_be_corrected(
    config: RunConfig,
    folder: Path,
    tmp_path: Path,
) -> None:
    damage(folder / "03.jsonl.gz")
    dataset, _ = run(config)
    assert export([dataset.folder / "quarantine.parquet"], tmp_path / "bad.jsonl")["records"] == 0
    assert (tmp_path / "bad.jsonl").read_bytes() == b""
    assert [source.name for source in files_of(config.home, config.source, dataset)] == [
        f"{number:02d}.jsonl.gz" for number in range(FILES) if number != 3
    ]


def test_a_version_can_be_made_again_when_the_file_is_mended_or_gone(
    config: RunConfig,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(folder / "03.jsonl.gz")
    gathering = Gathering(config.home, config.source)
    gathering.add(run(config)[0])
    assert [one.name for one in gathering.sources.values() if one.kind != "file"] == ["03.jsonl.gz"]
    [step] = [one for one in gathering.steps.values() if "set_aside" in one.facts]
    (folder / "03.jsonl.gz").unlink()
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / "new"))
    reproduction = cast(Any, SimpleNamespace(sources={}, _config_of=lambda step: config))
    again = Reproduction._read(reproduction, step)
    assert Path(again.path).is_relative_to(tmp_path / "new")
    assert (
        step_of(
            again.stage,
            again.digest,
            again.manifest,
            {},
            {},
        ).hashes
        == step.hashes
    )


def test_a_command_that_looks_first_follows_the_same_rule(folder: Path) -> None:
    source = SourceConfig(input=(str(folder),))
    (folder / "03.jsonl.gz").write_bytes(b"\x1f\x8b but no more")
    require_usable(source.input, source)
    (folder / "04.jsonl.gz").write_bytes(b"\x1f\x8b but no more")
    with pytest.raises(Unreadable, match=f"2 of {FILES} files cannot be read"):
        require_usable(source.input, source)
    for file in folder.iterdir():
        file.write_bytes(b"\x1f\x8b but no more")
    with pytest.raises(Unreadable) as caught:
        require_usable(source.input, source)
    assert caught.value.where == str(folder / "00.jsonl.gz")
