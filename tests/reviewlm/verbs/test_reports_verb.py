"""`reviewlm history --page` writes one page for all runs of a home; `reviewlm compare` shows two models as tables."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app
from reviewlm.verbs import compare


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
    ran = CliRunner().invoke(app, ["history", "--page", "--json"], catch_exceptions=False)
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
    ran = CliRunner().invoke(app, ["history", "--page"], catch_exceptions=False)
    assert opened == [(reports / "index.html").resolve().as_uri()]
    assert ("Not opened" in ran.stdout) == (not found)


def test_a_home_without_reports_says_what_writes_one() -> None:
    ran = CliRunner().invoke(app, ["history", "--page"], catch_exceptions=False)
    assert ran.exit_code == 0
    assert "0 runs" in ran.stdout
    assert "`reviewlm run`" in ran.stdout


def test_two_compared_models_have_years_and_whole_counts_in_their_tables(capsys: pytest.CaptureFixture[str]) -> None:
    gain = {"gain": 0.1, "gain_lo": 0.05, "gain_hi": 0.15, "verdict": "B is better"}
    slices = [
        {"dimension": "month", "slice": name, "reviews": 40, "A": 2.0, "B": 1.8, **gain} for name in ("2008", "2008-03")
    ]
    compare._show({
        "a": "version 1", "b": "version 2", "reviews": 80, "notes": [], "confidence": 0.95, "figures": [],
        "slices": slices, "costs": [{"cost": "parameters", "A": 1_513_966.0, "B": None}], "samples": [],
        "markdown": "m.md", "mlflow_run_id": "r",
    })  # fmt: skip
    rows = [line.replace("│", "|").split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1:4:2] for row in rows if "2008" in row or "2008-03" in row] == [["year", "2008"], ["month", "2008-03"]]
    assert ["|", "parameters", "|", "1,513,966", "|", "–", "|"] in rows
