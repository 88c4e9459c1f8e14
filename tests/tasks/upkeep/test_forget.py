"""Forgetting a person: what goes from a home, what is named, and what later readings leave out."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.errors import ArtifactError
from reviewlm.core.removal import Removal
from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.ingestion.forgotten import FILE
from reviewlm.corpus.ingestion.ingest import iter_parts
from reviewlm.tasks.data.account import account_of
from reviewlm.tasks.data.ingest import ingest_files
from reviewlm.tasks.data.prepare import clean_and_split
from reviewlm.tasks.records.track import parent_run
from reviewlm.tasks.upkeep.forget import forget, ids_in_our_form
from reviewlm.tracking.tags import DATA_TAG
from tests.tasks.upkeep.judged_versions import judged, registry

PERSON = "person-0815"
WORDS = "the aubergines sang loudly beneath a violet umbrella all evening"
PLANTED = {
    "reports/r1/report.html": f"<p>{WORDS}</p>",
    "comparisons/c.json": json.dumps({"example": f"{WORDS}!"}),
    "mlartifacts/run1/artifacts/examples.json": json.dumps([[WORDS]]),
    "store/.aside/read-1-2/part.txt": WORDS,
    "crashes/a.log": f"first line\nreview {WORDS}\nlast line\n",
}


def record(number: int, **fields: Any) -> dict[str, Any]:
    about = {
        "review_id": f"review-{number:04d}",
        "user_id": f"user-{number:04d}",
        "stars": 4,
    }
    words = " ".join(f"word{number * 31 + at}" for at in range(30))
    return {
        **about,
        "text": f"Plain words of number {number}: {words}.",
        **fields,
    }


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in records)


@pytest.fixture
def config(migrated_home: Path, tmp_path: Path) -> RunConfig:
    """A home in which two files were read and prepared; the person has three records in the first."""
    folder = tmp_path / "in"
    folder.mkdir()
    mine = [record(900 + at, user_id=PERSON, text=f"So {WORDS}, part {at}.") for at in range(2)]
    bad = record(950, user_id=PERSON, text=None)
    (folder / "first.jsonl").write_text(lines(*map(record, range(60)), *mine, bad))
    (folder / "second.jsonl").write_text(lines(*map(record, range(60, 120))))
    return with_input(load_config("small", []), folder)


def with_input(config: RunConfig, path: Path) -> RunConfig:
    source = config.source.model_copy(update={"input": (str(path),)})
    return config.model_copy(update={"source": source})


def read(config: RunConfig) -> Artifact:
    result = ingest_files.fn(config)
    return result if isinstance(result, Artifact) else result.data


def prepared(config: RunConfig) -> Artifact:
    result = clean_and_split.fn(config, read(config))
    return result if isinstance(result, Artifact) else result.data


def plant(home: Path) -> None:
    for name, content in PLANTED.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(content)
    (home / "prefect").mkdir(exist_ok=True)
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as base, base:
        base.execute("CREATE TABLE artifact (data TEXT)")
        base.execute("INSERT INTO artifact VALUES (?)", [json.dumps({"a": WORDS, "b": "other"})])


def holding(home: Path) -> list[str]:
    """Files that hold the words or the id as bytes; Parquet is compressed, and is left to other tests."""
    files = (file for file in sorted(home.rglob("*")) if file.is_file())
    found = [file for file in files if any(one in file.read_bytes() for one in SIGNS)]
    return [file.relative_to(home).as_posix() for file in found]


SIGNS = (WORDS.encode(), PERSON.encode())


def test_a_dry_run_of_forget_changes_nothing(config: RunConfig) -> None:
    prepared(config)
    plant(config.home)
    before = holding(config.home)
    forget(config.workspace, [], [PERSON], dry_run=True)
    assert holding(config.home) == before
    assert not (config.home / FILE).exists()


def test_a_dry_run_of_forget_names_everything(config: RunConfig) -> None:
    prepared(config)
    plant(config.home)
    done = forget(config.workspace, [], [PERSON], dry_run=True)
    assert done["reviews"] == 2
    assert done["files"] == [{"name": "first.jsonl", "records": 3}]
    kinds = {row["kind"] for row in done["removed"]}
    assert {"results of read", "results of ingest", "results of prepare"} <= kinds
    assert {"files of reports", "files of prefect", "files of crashes"} <= kinds


def test_nothing_in_the_home_holds_the_reviews_afterwards(config: RunConfig) -> None:
    clean = prepared(config)
    plant(config.home)
    done = forget(config.workspace, [], [PERSON])
    assert (holding(config.home), done["left"], done["versions"]) == ([], [], [])
    store = Store.of(config.home)
    assert store.find("prepare", clean.digest) is None
    assert [one.facts["name"] for one in store.all("read")] == ["second.jsonl"]
    assert (config.home / "crashes" / "a.log").read_text().split("\n")[::2] == [
        "first line",
        "last line",
    ]


def test_the_next_run_reads_only_that_file_again(config: RunConfig) -> None:
    read(config)
    forget(config.workspace, [], [PERSON])
    again = read(config)
    assert (again.facts["new_sources"], again.facts["reused_sources"]) == (1, 1)
    assert read(config) == again


def test_the_next_run_accounts_for_the_records_that_it_leaves_out(config: RunConfig) -> None:
    read(config)
    forget(config.workspace, [], [PERSON])
    again = read(config)
    assert again.facts["rows"] == 120
    [entry] = [one for one in account_of(again).entries if one.kind is Kind.FORGOTTEN]
    assert (entry.count, entry.file, entry.odd) == (3, "first.jsonl", True)
    users = {user for part in iter_parts(again.folder) for user in part["user_id"]}
    assert PERSON not in users


def test_a_new_file_with_a_forgotten_review_does_not_bring_it_back(
    config: RunConfig, tmp_path: Path
) -> None:
    read(config)
    forget(config.workspace, ["review-0003"], [PERSON])
    copies = [record(3, text="Again."), record(200, user_id=PERSON), record(201)]
    (tmp_path / "in" / "third.jsonl").write_text(lines(*copies))
    again = read(config)
    ids = {one for part in iter_parts(again.folder) for one in part["review_id"]}
    assert ids == {record(number)["review_id"] for number in [*range(120), 201]} - {"review-0003"}


def test_a_second_person_in_the_same_file_is_forgotten_too(config: RunConfig) -> None:
    read(config)
    forget(config.workspace, [], [PERSON])
    first = read(config)
    forget(config.workspace, [], ["user-0005"])
    second = read(config)
    assert (first.facts["rows"], second.facts["rows"]) == (120, 119)


def test_an_id_that_nobody_has_removes_nothing(config: RunConfig) -> None:
    before = prepared(config)
    done = forget(config.workspace, [], ["user-0200"])
    assert (done["removed"], done["reviews"]) == ([], 0)
    assert prepared(config) == before


def test_an_id_that_nobody_has_yet_is_remembered(config: RunConfig, tmp_path: Path) -> None:
    prepared(config)
    forget(config.workspace, [], ["user-0200"])
    (tmp_path / "in" / "third.jsonl").write_text(lines(record(200), record(201)))
    assert read(config).facts["rows"] == 123


def test_the_results_of_other_reviews_stay(config: RunConfig, tmp_path: Path) -> None:
    other = with_input(config, tmp_path / "in" / "second.jsonl")
    theirs = prepared(other)
    prepared(config)
    forget(config.workspace, [], [PERSON])
    assert Store.of(config.home).find("prepare", theirs.digest) is not None


@pytest.fixture
def learnt_versions(config: RunConfig) -> None:
    """Three versions that have learnt from the person's reviews, of which two were champions, and a fourth one."""
    judged(
        config,
        True,
        False,
        True,
        tags={DATA_TAG: prepared(config).digest},
    )
    judged(config, None, tags={DATA_TAG: "0123456789abcdef"})
    with registry(config).tracker.reaching() as client:
        client.set_registered_model_alias(registry(config).name, "mine", "2")


@pytest.mark.usefixtures("learnt_versions")
def test_versions_that_have_learnt_from_it_are_named(config: RunConfig) -> None:
    named = forget(config.workspace, [], [PERSON])["versions"]
    assert sorted((row["version"], row["aliases"], row["learnt"]) for row in named) == [
        (1, ["previous"], True),
        (2, ["mine"], True),
        (3, ["champion"], True),
    ]


@pytest.mark.usefixtures("learnt_versions")
def test_versions_that_have_learnt_from_it_are_deleted_on_demand(config: RunConfig) -> None:
    forget(config.workspace, [], [PERSON])
    done = forget(config.workspace, [], [PERSON], delete_versions=True)
    assert done["removed"] == [{"kind": "registered versions", "number": 1}]
    assert sorted(row["version"] for row in done["versions"]) == [2, 3]
    assert sorted(one.version for one in registry(config).versions()) == [2, 3, 4]


def test_a_killed_removal_is_finished_by_the_next(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(config)
    plant(config.home)

    def killed(removal: Removal, folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Removal, "remove_other", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(config.workspace, [], [PERSON])
    forget(config.workspace, [], [PERSON])
    assert holding(config.home) == []


def test_a_review_in_test_data_alone_was_not_learnt(config: RunConfig) -> None:
    clean = prepared(config)
    tests = pl.read_parquet(clean.folder / "clean.parquet").filter(pl.col("split") == "test")
    judged(config, True, tags={DATA_TAG: clean.digest})
    done = forget(config.workspace, [tests["review_id"][0]], [])
    assert (done["reviews"], done["versions"]) == (1, [])


def test_it_waits_for_no_run_but_refuses_while_one_goes_on(config: RunConfig) -> None:
    with parent_run(config, "retrain"), pytest.raises(ArtifactError, match="A run is going on"):
        forget(config.workspace, [], [PERSON])
    assert not (config.home / FILE).exists()


def test_ids_are_taken_in_the_form_that_reviews_have() -> None:
    assert ids_in_our_form([" 1000.0 ", "abc", ""]) == ["1000", "abc"]
