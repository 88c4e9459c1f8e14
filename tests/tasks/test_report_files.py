"""Where a report is written, what points to it, and what happens where it cannot be made."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
from matplotlib.figure import Figure

from core.config.presets import load_config
from core.errors import NotWritable
from evaluation.reports.report_pictures import MODELS, Drawing, DrawnFigure
from evaluation.reports.run_results import ModelResults, RunResults
from evaluation.scoring.metrics import Figures
from evaluation.statistics.comparison import comparison_table
from tasks.reporting import figures
from tasks.reporting import report as stage

FIGURES = Figures(10, 200, 1_000, 180, 2, 900.0, 5.0, "word", "v", "b")


@pytest.fixture
def results() -> RunResults:
    return RunResults((ModelResults("kn5"),), comparison_table({"kn5": FIGURES}), "kn5", run={"preset": "demo"})


@pytest.fixture
def picture() -> DrawnFigure:
    return Drawing("bars", MODELS, Figure(figsize=(1, 1)), "How to read it.").drawn


def test_the_newest_report_is_what_latest_points_to(tmp_path: Path, results: RunResults, picture: DrawnFigure) -> None:
    first = stage.write_files(results, [picture], tmp_path, "run-1")
    second = stage.write_files(results, [], tmp_path, "run-2")
    assert (tmp_path / "latest" / "report.html").read_text() == second.read_text()
    assert "bars" in first.read_text()
    assert (tmp_path / "run-1" / "figures" / "bars.png").stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latest", "run-1", "run-2"]
    assert sorted(path.name for path in (tmp_path / "run-2").iterdir()) == ["figures", "report.html", "run.json"]


@dataclass
class Measurements:
    """Measured models, of which only digests and the table are read before the figures are drawn."""

    table: pl.DataFrame

    floor = None

    @property
    def models(self) -> list[SimpleNamespace]:
        """One model."""
        one = SimpleNamespace(digest="0123456789abcdef")
        return [SimpleNamespace(name="kn5", fitted=SimpleNamespace(artifact=one), test=one, samples=one, observed=one,
                                audit=one)]  # fmt: skip

    @property
    def comparison(self) -> SimpleNamespace:
        """Its table, and the artifact of the intervals."""
        return SimpleNamespace(table=self.table, artifact=SimpleNamespace(digest="fedcba9876543210"))


def test_figures_are_drawn_beside_the_gate_and_again_only_for_other_measurements(
    monkeypatch: pytest.MonkeyPatch, results: RunResults, own_home: Path
) -> None:
    drawn: list[str] = []

    def draw(shown: RunResults) -> list[Drawing]:
        drawn.append(shown.winner)
        figure = Figure(figsize=(1, 1))
        figure.suptitle("A \\$ title")
        return [Drawing(shown.winner, MODELS, figure, "How to read it.", "<What> it says.")]

    monkeypatch.setattr(figures, "measured_results", lambda config, measured, winner: replace(results, winner=winner))
    monkeypatch.setattr(figures, "pictures_of", draw)
    monkeypatch.setattr(stage, "best_allowed", lambda config, measured: SimpleNamespace(name="kn5"))
    config, measured = load_config("demo"), cast(Any, Measurements(results.table))
    with stage.figures_beside(config, measured):
        pass
    assert drawn == ["kn5"]
    [kept] = figures.report_figures(config, measured, "kn5")
    assert drawn == ["kn5"]
    [fresh] = draw(results)
    assert (kept.png, kept.picture) == (fresh.drawn.png, fresh.picture)
    assert kept.title == "A $ title"
    others = [("lstm", measured), ("kn5", cast(Any, Measurements(results.table.with_columns(score_seconds=9.0))))]
    for winner, found in others:
        [again] = figures.report_figures(config, found, winner)
        assert again.name == winner
    assert drawn[2:] == ["lstm", "kn5"]


def test_a_run_that_is_resumed_replaces_its_report(tmp_path: Path, results: RunResults, picture: DrawnFigure) -> None:
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
