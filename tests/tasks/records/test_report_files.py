"""Where a report is written, what points to it, and what happens where it cannot be made."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviewlm.core.errors import NotWritable
from reviewlm.evaluation.reports.report_pictures import (
    WrittenDrawing,
    drawings_of,
    read_drawings,
    write_drawings,
)
from reviewlm.evaluation.reports.run_results import ModelResults, RunResults
from reviewlm.evaluation.scoring.metrics import Figures
from reviewlm.evaluation.statistics.comparison import comparison_table
from reviewlm.tasks.records import run_report as stage

FIGURES = Figures(
    10,
    200,
    1_000,
    180,
    2,
    900.0,
    5.0,
    "word",
    "v",
    "b",
)


@pytest.fixture
def results() -> RunResults:
    return RunResults(
        (ModelResults("kn5"),), comparison_table({"kn5": FIGURES}), "kn5", run={"preset": "demo"}
    )


@pytest.fixture
def drawings(tmp_path_factory: pytest.TempPathFactory, results: RunResults) -> list[WrittenDrawing]:
    folder = tmp_path_factory.mktemp("drawings")
    write_drawings(drawings_of(results), folder)
    return read_drawings(folder)


def test_the_newest_report_is_what_latest_points_to(
    tmp_path: Path,
    results: RunResults,
    drawings: list[WrittenDrawing],
) -> None:
    stage.write_files(results, drawings, tmp_path, "run-1")
    second = stage.write_files(replace(results, version=2), drawings, tmp_path, "run-2")
    assert (tmp_path / "latest" / "report.html").read_text() == second.read_text()
    assert (tmp_path / "run-1" / "figures" / "bits_per_byte.png").stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "run-1", "run-2"]
    files = [sorted(path.name for path in (tmp_path / run).iterdir()) for run in ("run-1", "run-2")]
    assert files[0] == ["figures", "report.html", "run.json"]
    assert files[1] == ["figures", "model_card.md", "report.html", "run.json"], (
        "of a registered version"
    )


def test_a_folder_that_is_a_file_is_an_error_with_a_word(
    tmp_path: Path, results: RunResults
) -> None:
    (tmp_path / "reports").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        stage.write_files(results, [], tmp_path / "reports", "run-1")


@dataclass
class Future:
    """Of a task that has ended."""

    value: Any = None
    error: str = ""
    waited: list[bool] = field(default_factory=list)

    def wait(self) -> None:
        self.waited.append(True)

    @property
    def state(self) -> Any:
        assert self.waited
        return SimpleNamespace(is_completed=lambda: not self.error, message=self.error)

    def result(self) -> Any:
        return self.value


@pytest.mark.parametrize(
    ("future", "path"),
    [(Future("/home/report.html"), "/home/report.html"), (Future(error="no ink"), "")],
)
def test_a_run_is_not_lost_because_its_report_is(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    future: Future,
    path: str,
) -> None:
    monkeypatch.setattr(stage.write_report, "submit", lambda *given: future)
    with caplog.at_level(logging.WARNING, "reviewlm.tasks.records.run_report"):
        made = stage.make_report(None)  # type: ignore[arg-type]
    assert made == path
    assert ("no ink" in caplog.text) == bool(future.error)
