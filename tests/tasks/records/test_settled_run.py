"""Which runs are looked at before they begin, what counts as a change, and what is kept of a run that changed nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.evaluation.reports.run_record import REPORT_FILE, REPORTS
from reviewlm.tasks.records import settled_run
from reviewlm.tasks.records.settled_run import Circumstances

SETTLED = {"same_model": True, "version": None}
REVIEWS = "reviews.jsonl"
"""File of the input, beside the home."""


@pytest.fixture(autouse=True)
def command_alone(
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A command in a folder of its own, without services."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


def circumstances(*overrides: str, input: Path | None = None) -> Circumstances:
    config = load_config("demo", list(overrides)).with_input([str(input)] if input else [])
    found = settled_run.circumstances_of(config)
    assert found is not None
    return found


def keep(before: Circumstances, **changes: Any) -> Path:
    """Keep a settled run; return its report."""
    report = before.workspace.home / REPORTS / "run" / REPORT_FILE
    report.parent.mkdir(parents=True, exist_ok=True)
    report.touch()
    summary = {"report": str(report), **SETTLED, **changes}
    settled_run.keep_settled(before, [("fit", "a"), ("fit", "a")], summary)
    return report


@pytest.mark.parametrize(
    "override",
    [
        "execution.cluster=local",
        "execution.rebuild=['fit']",
        "execution.tracking_uri=http://127.0.0.1:1",
        "vectors.own=words.vec",
    ],
)
def test_a_run_is_not_looked_at_where_more_decides_it(override: str) -> None:
    assert settled_run.circumstances_of(load_config("demo", [override])) is None


def test_a_run_is_not_looked_at_where_a_lasting_server_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert settled_run.circumstances_of(load_config("demo")) is None


def test_a_run_is_not_looked_at_whose_files_are_gone(tmp_path: Path) -> None:
    config = load_config("demo").with_input([str(tmp_path / "gone.jsonl")])
    assert settled_run.circumstances_of(config) is None


def test_a_run_is_not_looked_at_whose_versions_cannot_be_read(own_home: Path) -> None:
    own_home.mkdir()
    (own_home / "mlflow.db").write_text("no database")
    assert settled_run.circumstances_of(load_config("demo")) is None


def test_equal_runs_have_the_same_circumstances() -> None:
    assert circumstances() == circumstances()


def change_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return ["seed=2"]


def change_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("MLFLOW_ANYTHING", "1")
    return []


def change_code(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(settled_run, "made_with", lambda: {"code": "other"})
    return []


def forget_a_person(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    home.mkdir(exist_ok=True)
    (home / "forgotten.json").write_text("{}")
    return []


def name_a_server(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Path("prefect.toml").write_text('[api]\nurl = "http://127.0.0.1:1/api"\n')
    return []


def change_review(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    file = home.with_name(REVIEWS)
    file.write_bytes(file.read_bytes().replace(b"5", b"4"))
    return []


@pytest.mark.parametrize(
    "change",
    [
        change_setting,
        change_variable,
        change_code,
        forget_a_person,
        name_a_server,
        change_review,
    ],
)
def test_a_change_gives_a_run_another_key(
    change: Callable[[Path, pytest.MonkeyPatch], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = circumstances().workspace.home
    file = home.with_name(REVIEWS)
    file.write_text(json.dumps({"text": "good", "stars": 5}) + "\n")
    before = circumstances(input=file)
    after = circumstances(*change(home, monkeypatch), input=file)
    assert after.key != before.key
    assert after.state == before.state


def test_new_data_in_the_store_are_another_state() -> None:
    before = circumstances()
    (before.workspace.home / "store" / "prepare" / "new").mkdir(parents=True)
    after = circumstances()
    assert after.key == before.key
    assert after.state != before.state


def test_a_settled_run_is_found_with_its_results() -> None:
    before = circumstances()
    report = keep(before)
    found = settled_run.find_settled(before)
    assert found is not None
    assert found.results == [("fit", "a")]
    assert found.summary["report"] == str(report)


@pytest.mark.parametrize(
    "changes",
    [{"same_model": False}, {"version": 2}, {"report": ""}],
    ids=lambda changes: str(changes),
)
def test_a_run_that_may_end_otherwise_is_not_kept(changes: dict[str, Any]) -> None:
    before = circumstances()
    keep(before, **changes)
    assert settled_run.find_settled(before) is None


def test_a_run_that_changed_the_home_is_not_kept() -> None:
    before = circumstances()
    keep(replace(before, state="another"))
    assert settled_run.find_settled(before) is None


def test_a_run_is_not_found_in_another_state() -> None:
    before = circumstances()
    keep(before)
    assert settled_run.find_settled(replace(before, state="another")) is None


def test_a_run_whose_report_is_gone_is_not_found() -> None:
    before = circumstances()
    keep(before).unlink()
    assert settled_run.find_settled(before) is None


def test_a_changed_file_of_a_settled_run_is_not_used() -> None:
    before = circumstances()
    file = next(keep(before).parent.glob("settled-*"))
    file.write_text(file.read_text().replace('"a"', '"b"'))
    assert settled_run.find_settled(before) is None


def test_a_run_whose_result_is_gone_is_not_repeated() -> None:
    before = circumstances()
    keep(before)
    assert settled_run.repeat(before) is None
