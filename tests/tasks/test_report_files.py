"""Where a report is written, what points to it, and what happens where it cannot be made."""

from __future__ import annotations

import logging
from concurrent.futures import Future as BesideFuture
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

from core.errors import NotWritable
from evaluation.reports.report_pictures import MODELS, Drawing
from evaluation.reports.run_results import ModelResults, RunResults
from evaluation.scoring.metrics import Figures
from evaluation.statistics.comparison import comparison_table
from tasks.reporting import report as stage

FIGURES = Figures(10, 200, 1_000, 180, 2, 900.0, 5.0, "word", "v", "b")


@pytest.fixture
def results() -> RunResults:
    return RunResults((ModelResults("kn5"),), comparison_table({"kn5": FIGURES}), "kn5", run={"preset": "demo"})


@pytest.fixture
def picture() -> Drawing:
    return Drawing("bars", MODELS, Figure(figsize=(1, 1)), "How to read it.")


def test_the_newest_report_is_what_latest_points_to(tmp_path: Path, results: RunResults, picture: Drawing) -> None:
    first = stage.write_files(results, [picture], tmp_path, "run-1")
    second = stage.write_files(results, [], tmp_path, "run-2")
    assert (tmp_path / "latest" / "report.html").read_text() == second.read_text()
    assert "bars" in first.read_text()
    assert (tmp_path / "run-1" / "figures" / "bars.png").stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "run-1", "run-2"]
    assert sorted(path.name for path in (tmp_path / "run-2").iterdir()) == ["figures", "report.html", "run.json"]


def test_figures_are_drawn_beside_the_gate_and_again_only_if_it_chose_another_model(
    monkeypatch: pytest.MonkeyPatch, results: RunResults
) -> None:
    drawings: list[list[Drawing]] = []

    def draw(shown: RunResults) -> list[Drawing]:
        drawings.append([Drawing(shown.winner, MODELS, Figure(figsize=(1, 1)), "How to read it.")])
        return drawings[-1]

    monkeypatch.setattr(stage, "results_of", lambda *given: results)
    monkeypatch.setattr(stage, "pictures_of", draw)
    nothing: Any = None
    with stage.figures_beside(*[nothing] * 4, "run-1") as drawn:
        assert [one.name for one in drawn.result(60).pictures] == ["kn5"]
    assert stage.figures_of(results, drawn) == drawings[0]
    assert "svg" in vars(drawings[0][0])["picture"].svg  # kept, not drawn when it is asked for
    assert [one.name for one in stage.figures_of(replace(results, winner="lstm"), drawn)] == ["lstm"]
    assert [one.name for one in stage.figures_of(results, None)] == ["kn5"]
    assert len(drawings) == 3
    failed: Any = BesideFuture()
    failed.set_exception(MemoryError())
    assert [one.name for one in stage.figures_of(results, failed)] == ["kn5"]


def test_a_run_that_is_resumed_replaces_its_report(tmp_path: Path, results: RunResults, picture: Drawing) -> None:
    stage.write_files(results, [picture], tmp_path, "run-1")
    again = stage.write_files(results, [], tmp_path, "run-1")
    assert "bars" not in again.read_text()


def test_a_pointer_that_cannot_be_made_costs_no_report(tmp_path: Path, results: RunResults) -> None:
    (tmp_path / "latest").mkdir(parents=True)
    (tmp_path / "latest" / "something").touch()
    assert stage.write_files(results, [], tmp_path, "run-1").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "run-1"]


def test_a_folder_that_is_a_file_is_an_error_with_a_word(tmp_path: Path, results: RunResults) -> None:
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
    ("future", "path"), [(Future("/home/report.html"), "/home/report.html"), (Future(error="no ink"), "")]
)
def test_a_run_is_not_lost_because_its_report_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, future: Future, path: str
) -> None:
    monkeypatch.setattr(stage.write_report, "submit", lambda *given: future)
    with caplog.at_level(logging.WARNING, "tasks.reporting.report"):
        made = stage.make_report(*[None] * 6)  # type: ignore[arg-type]
    assert made == path
    assert ("there is no report of this run: no ink" in caplog.text) == bool(future.error)
