"""Where a report is written, what points to it, and what happens where it cannot be made."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from matplotlib.figure import Figure

from core.config.presets import load_config
from core.errors import NotWritable
from evaluation.reports.report_pictures import MODELS, NOT_ON_THE_PAGE, Drawing, DrawnFigure
from evaluation.reports.run_results import ModelResults, RunResults
from evaluation.scoring.metrics import Figures
from evaluation.statistics.comparison import comparison_table
from tasks import run_report
from tasks import run_report as stage

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


def measurements(results: RunResults) -> Any:
    """Return measured models, of which only digests and the table are read before the figures are drawn."""

    def result(digest: str) -> SimpleNamespace:
        return SimpleNamespace(digest=digest)

    models = [
        SimpleNamespace(
            name=name, fitted=SimpleNamespace(artifact=result(f"fit {name}")), test=result(f"scores {name}"),
            samples=result(f"samples {name}"), observed=result(f"observations {name}"), audit=result(f"audit {name}"),
        ) for name in ("kn5", "lstm")
    ]  # fmt: skip
    return SimpleNamespace(
        models=models, comparison=SimpleNamespace(table=results.table, artifact=result("comparison")), floor=None
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, results: RunResults) -> list[str]:
    """The winners for which figures were drawn, instead of the real figures."""
    winners: list[str] = []

    def draw(shown: RunResults) -> list[Drawing]:
        winners.append(shown.winner)
        figure = Figure(figsize=(1, 1))
        figure.suptitle("A \\$ title")
        return [Drawing(shown.winner, MODELS, figure, "How to read it.", "<What> it says.")]

    made = lambda config, measured, winner: replace(results, winner=winner)  # noqa: E731
    monkeypatch.setattr(run_report, "measured_results", made)
    monkeypatch.setattr(run_report, "pictures_of", draw)
    return winners


def test_figures_are_drawn_beside_the_gate_and_not_again(
    drawn: list[str], results: RunResults, own_home: Path
) -> None:
    config, measured = load_config("demo"), measurements(results)
    with stage.figures_beside(config, measured, "kn5"):
        pass
    [kept] = run_report.report_figures(config, measured, "kn5")
    assert drawn == ["kn5"]
    [fresh] = run_report.pictures_of(results)
    assert (kept.png, kept.picture) == (fresh.drawn.png, fresh.picture)
    assert kept.title == "A $ title"


CHANGES: dict[str, Callable[[Any], object]] = {
    "a fit": lambda measured: setattr(measured.models[1].fitted.artifact, "digest", "other"),
    "scores": lambda measured: setattr(measured.models[1].test, "digest", "other"),
    "samples": lambda measured: setattr(measured.models[1].samples, "digest", "other"),
    "observations": lambda measured: setattr(measured.models[1].observed, "digest", "other"),
    "an audit": lambda measured: setattr(measured.models[1].audit, "digest", "other"),
    "a name": lambda measured: setattr(measured.models[1], "name", "other"),
    "the order": lambda measured: measured.models.reverse(),
    "intervals": lambda measured: setattr(measured.comparison.artifact, "digest", "other"),
    "a cost": lambda measured: setattr(
        measured.comparison, "table", measured.comparison.table.with_columns(score_seconds=9.0)
    ),
    "the floor": lambda measured: setattr(measured, "floor", {"nats": 1.0}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_measurements_are_drawn_anew(
    change: str, drawn: list[str], results: RunResults, own_home: Path
) -> None:
    config, measured = load_config("demo"), measurements(results)
    run_report.report_figures(config, measured, "kn5")
    CHANGES[change](measured)
    run_report.report_figures(config, measured, "kn5")
    assert drawn == ["kn5", "kn5"]


def test_another_winner_baseline_confidence_or_plotting_library_is_drawn_anew(
    drawn: list[str], results: RunResults, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = measurements(results)
    for winner, settings in (
        ("kn5", []), ("lstm", []), ("kn5", ["baseline=lstm"]), ("kn5", ["evaluation.confidence=0.9"]), ("kn5", [])
    ):  # fmt: skip
        run_report.report_figures(load_config("demo", settings), measured, winner)
    assert drawn == ["kn5", "lstm", "kn5", "kn5"]
    monkeypatch.setattr(run_report, "version", lambda library: "99.0")
    run_report.report_figures(load_config("demo"), measured, "kn5")
    assert len(drawn) == 5


def test_figures_that_fail_beside_the_gate_are_drawn_with_the_report(
    drawn: list[str], results: RunResults, own_home: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config, measured = load_config("demo"), measurements(results)
    draw = run_report.pictures_of

    def fail(shown: RunResults) -> list[Drawing]:
        raise MemoryError("no room to draw")

    monkeypatch.setattr(run_report, "pictures_of", fail)
    with caplog.at_level(logging.DEBUG), stage.figures_beside(config, measured, "kn5"):
        pass
    assert "no room to draw" in caplog.text
    monkeypatch.setattr(run_report, "pictures_of", draw)
    [figure] = run_report.report_figures(config, measured, "kn5")
    assert figure.name == "kn5"


def test_a_figure_that_the_page_shows_as_text_has_no_drawing_for_the_page() -> None:
    hidden = Drawing("heat", NOT_ON_THE_PAGE, Figure(figsize=(1, 1)), "How to read it.").drawn
    assert hidden.png
    assert not hidden.svg


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
    with caplog.at_level(logging.WARNING, "tasks.run_report"):
        made = stage.make_report(*[None] * 6)  # type: ignore[arg-type]
    assert made == path
    assert ("no ink" in caplog.text) == bool(future.error)
