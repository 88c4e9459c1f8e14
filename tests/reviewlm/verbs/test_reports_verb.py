"""`reviewlm reports` writes one page for all runs of a home."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def reports(home: Path) -> Path:
    folder = home / "reports" / "run-1"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("page")
    return folder.parent


def test_the_page_is_written_and_named(reports: Path) -> None:
    ran = CliRunner().invoke(app, ["reports", "--json"], catch_exceptions=False)
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told == {"runs": 1, "page": str(reports / "index.html")}
    assert "run-1/report.html" in (reports / "index.html").read_text()


@pytest.mark.parametrize("found", [True, False])
def test_open_shows_the_page_or_says_that_it_was_not_opened(
    reports: Path, monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or found)
    ran = CliRunner().invoke(app, ["reports", "--open"], catch_exceptions=False)
    assert opened == [(reports / "index.html").resolve().as_uri()]
    assert ("Not opened" in ran.stdout) == (not found)


def test_a_home_without_reports_says_what_writes_one() -> None:
    ran = CliRunner().invoke(app, ["reports"], catch_exceptions=False)
    assert ran.exit_code == 0
    assert "0 runs" in ran.stdout
    assert "`reviewlm run`" in ran.stdout
