"""The timeline of a run: each of its seconds, and what was used in it, belongs to one row."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.process_log import ProcessLog, Sample
from benchmarks.timeline.__main__ import main, ratios_of, table_of
from benchmarks.timeline.figure import draw
from benchmarks.timeline.rows import Row, attribute, beside
from benchmarks.timeline.spans import (
    EVALUATION,
    NO_STAGE,
    OTHER,
    TASKS,
    TRAINING,
    Layer,
    Span,
    command_spans,
    part_of,
    spans_of,
    task_name,
)

ONE = str(Path(__file__).parents[1] / "flows" / "one.toml")
BEGAN, ENDED = 100.0, 120.0


def made_log() -> ProcessLog:
    """20 seconds: one core in the first 4, two in the next 4, none for 2, one and a half for 8, a half for 2.

    The server uses another half of a core in the first 4 seconds.
    """
    log = ProcessLog(1)
    log.samples = [
        Sample(100.0, 0, 0, 0, 0.0, 0.0), Sample(104.0, 100, 90, 0, 4.0, 2.0), Sample(106.0, 900, 90, 0, 8.0, 2.0),
        Sample(108.0, 200, 90, 0, 12.0, 2.0), Sample(110.0, 150, 90, 0, 12.0, 2.0),
        Sample(113.0, 700, 90, 0, 16.5, 2.0), Sample(116.0, 800, 90, 500, 21.0, 2.0),
        Sample(118.0, 300, 90, 0, 24.0, 2.0), Sample(120.0, 250, 90, 0, 25.0, 2.0),
    ]  # fmt: skip
    return log


def stage(row: str, begin: float, end: float, part: str = OTHER) -> Span:
    return Span(Layer.STAGE, row, begin, end, part)


def rows_of(*spans: Span) -> dict[str, Row]:
    found = [*spans, *command_spans(spans, BEGAN, ENDED)]
    return attribute(found, made_log(), BEGAN, ENDED, lambda span: span.row)


def test_seconds_without_a_stage_are_the_start_the_time_between_and_the_end() -> None:
    rows = rows_of(stage("read", 104, 108), stage("fit", 110, 118))
    assert {name: (row.begin, row.wall, row.cpu, row.server) for name, row in rows.items()} == {
        "start": (100, 4, 4.0, 2.0), "read": (104, 4, 8.0, 0.0), "between stages": (104, 2, 0.0, 0.0),
        "fit": (110, 8, 12.0, 0.0), "end": (118, 2, 1.0, 0.0),
    }  # fmt: skip
    assert rows["start"].busy == 6.0, "the server works, too"
    assert (rows["read"].peak, rows["fit"].peak) == (900, 800)


def test_stages_at_the_same_time_share_it_in_equal_parts() -> None:
    rows = rows_of(stage("read", 104, 108), stage("fit lstm", 110, 118), stage("fit kn5", 114, 118))
    lstm, kn5 = rows["fit lstm"], rows["fit kn5"]
    assert (lstm.wall, lstm.share, lstm.cpu) == (8, 6, 9.0), "4 s alone with 6 CPU s, half of 4 s with 6"
    assert (kn5.wall, kn5.share, kn5.cpu) == (4, 2, 3.0)
    assert (lstm.busy, kn5.busy) == (12.0, 6.0), "1.5 cores are busy while either runs"
    assert sum(row.share for row in rows.values()) == ENDED - BEGAN
    assert sum(row.cpu for row in rows.values()) == 25.0


def test_artifacts_of_one_stage_are_one_row_and_touching_times_one_bar() -> None:
    score = rows_of(stage("score", 110, 114), stage("score", 112, 116), stage("score", 116, 118))["score"]
    assert (score.times, score.stage_seconds, score.wall, score.share) == (3, 10, 8, 8)
    assert score.intervals == [(110, 118)]


def test_a_task_counts_while_no_stage_is_built_and_a_flow_while_no_task_runs() -> None:
    rows = rows_of(
        Span(Layer.FLOW, "retrain, between steps", 101, 119),
        Span(Layer.STEP, "train, between tasks", 102, 117),
        Span(Layer.TASK, "train: fit", 103, 112), stage("fit lstm", 104, 108),
    )  # fmt: skip
    assert {name: row.intervals for name, row in rows.items()} == {
        "start": [(100, 101)], "retrain, between steps": [(101, 102), (117, 119)],
        "train, between tasks": [(102, 103), (112, 117)], "train: fit": [(103, 104), (108, 112)],
        "fit lstm": [(104, 108)], "end": [(119, 120)],
    }  # fmt: skip
    assert rows["train: fit"].cpu == 4.0, "one in the 104th second, none in two, 3 in two"


def test_a_task_that_a_stage_covers_has_no_row_and_a_stage_beyond_the_run_counts_only_within() -> None:
    rows = rows_of(Span(Layer.TASK, "train: fit", 105, 107), stage("fit", 104, 108), stage("late", 118, 130))
    assert list(rows) == ["start", "fit", "between stages", "late"]
    assert rows["late"].wall == 2


def test_a_run_in_which_nothing_is_asked_for_is_one_row() -> None:
    rows = rows_of()
    assert {name: (row.wall, row.cpu) for name, row in rows.items()} == {"start": (20, 25.0)}


@pytest.mark.parametrize(("name", "suite", "part"), [
    ("fit", None, TRAINING), ("score", None, EVALUATION), ("observe", None, EVALUATION), ("floor", None, EVALUATION),
    ("check", "predictions", EVALUATION), ("check", "samples", EVALUATION), ("check", "raw", OTHER),
    ("tokens", None, OTHER), ("figures", None, OTHER),
])  # fmt: skip
def test_the_part_of_a_stage_is_by_its_name_and_that_of_a_check_by_what_it_checks(
    name: str, suite: str | None, part: str
) -> None:
    assert part_of({"stage": name, "options": {"suite": suite} if suite else {}}) == part


def test_evaluation_is_compared_with_training_by_the_seconds_of_their_stages() -> None:
    spans = [stage("fit a", 104, 112, TRAINING), stage("fit b", 104, 116, TRAINING)]
    spans, log = [*spans, stage("score", 117, 118, EVALUATION)], made_log()
    parts = attribute([*spans, *command_spans(spans, BEGAN, ENDED)], log, BEGAN, ENDED, lambda span: span.part)
    assert beside(parts, EVALUATION, TRAINING) == 0.05, "1 by 8 + 12"
    assert beside(parts, EVALUATION, TASKS) is None
    assert (parts[NO_STAGE].wall, parts[TRAINING].wall) == (7, 12)
    log.high_water = 1_536.0
    ratios = ratios_of(parts, log, ENDED - BEGAN, 10.0)
    assert {name: one.value for name, one in ratios.items()} == {
        "timeline.memory": 0.8, "timeline.evaluation": 2.0, "timeline.wall": 0.5,
    }  # fmt: skip
    assert set(ratios_of({}, log, 20.0, None)) == {"timeline.memory"}


def test_the_table_has_all_rows_the_parts_and_the_whole() -> None:
    spans = [stage("read", 104, 108), stage("fit a", 110, 118, TRAINING)]
    spans += command_spans(spans, BEGAN, ENDED)
    log = made_log()
    rows, parts = (attribute(spans, log, BEGAN, ENDED, by) for by in (lambda span: span.row, lambda span: span.part))
    table = table_of(rows, parts, log, BEGAN, ENDED)
    assert table["read"] == {
        "times": 1, "begin, s": 4.0, "wall, s": 4.0, "share, %": 20.0, "CPU s": 8.0, "server's CPU s": 0.0,
        "cores busy": 2.0, "peak, MiB": 900,
    }  # fmt: skip
    assert (table["all of: no stage"]["wall, s"], table["all of: no stage"]["CPU s"]) == (8.0, 5.0)
    whole = table["whole run"]
    assert (whole["wall, s"], whole["CPU s"], whole["cores busy"], whole["peak, MiB"]) == (20.0, 25.0, 1.35, 900)
    assert (table["peak of private memory, MiB"], table["peak of Prefect's server, MiB"]) == (500, 90)


def prefect_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def made_home(home: Path, began: float) -> None:
    """A home with an artifact of this run and an earlier one, and Prefect's tables with a run and an earlier one."""
    for number, (created, name) in enumerate([(began - 50, "old"), (began + 4, "lstm")]):
        folder = home / "store" / "fit" / str(number)
        folder.mkdir(parents=True)
        manifest = {"stage": "fit", "created": created, "seconds": 3.0, "options": {}, "facts": {"name": name}}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    (home / "prefect").mkdir()
    with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as database, database:
        database.execute("CREATE TABLE flow (id, name)")
        database.execute("CREATE TABLE flow_run (id, flow_id, start_time, end_time, parent_task_run_id)")
        database.execute("CREATE TABLE task_run (id, name, dynamic_key, start_time, end_time, flow_run_id)")
        database.executemany("INSERT INTO flow VALUES (?, ?)", [(1, "retrain"), (2, "fit-models")])
        database.executemany("INSERT INTO flow_run VALUES (?, ?, ?, ?, ?)", [
            ("before", 1, prefect_time(began - 60), prefect_time(began - 40), None),
            ("whole", 1, prefect_time(began + 1), None, None),  # it has crashed
            ("train", 2, prefect_time(began + 2), prefect_time(began + 9), "calls"),
        ])  # fmt: skip
        database.executemany("INSERT INTO task_run VALUES (?, ?, ?, ?, ?, ?)", [
            ("calls", "fit-models-0", "0", prefect_time(began + 1.5), prefect_time(began + 9), "whole"),
            ("fits", "fit lstm", "5f0c", prefect_time(began + 3), prefect_time(began + 8), "train"),
            ("card", "card-tracking-7ab", "7abc-1", prefect_time(began + 9.5), prefect_time(began + 9.75), "whole"),
            ("waits", "fit kn5", "5f0d", None, None, "train"),
        ])  # fmt: skip


def test_stages_tasks_and_flows_of_this_run_are_read_from_the_home(tmp_path: Path) -> None:
    began = 1_800_000_000.0
    made_home(tmp_path, began)
    found = {(one.layer, one.row, one.begin - began, one.end - began) for one in spans_of(tmp_path, began, began + 20)}
    assert found == {
        (Layer.STAGE, "fit lstm", 4, 7), (Layer.TASK, "fit-models: fit", 3, 8),
        (Layer.TASK, "retrain: card-tracking", 9.5, 9.75), (Layer.STEP, "fit-models, between tasks", 2, 9),
        (Layer.FLOW, "retrain, between steps", 1, 20), (Layer.COMMAND, "start", 0, 1),
        (Layer.COMMAND, "between stages", 1, 20),
    }  # fmt: skip


def test_without_prefects_tables_the_stages_are_there(tmp_path: Path) -> None:
    began = 1_800_000_000.0
    made_home(tmp_path, began)
    (tmp_path / "prefect" / "prefect.db").unlink()
    assert [one.row for one in spans_of(tmp_path, began, began + 20)] == ["fit lstm", "start", "between stages", "end"]


@pytest.mark.parametrize(("name", "key", "shown"), [
    ("check-0d3", "0d3f66e2-1", "check"), ("fit lstm", "5f0c1d2e", "fit"), ("fit lstm-5f0", "5f0c1d2e", "fit"),
    ("card-tracking-7ab", "7abc", "card-tracking"), ("card-tracking", "7abc", "card-tracking"),
])  # fmt: skip
def test_tasks_of_one_kind_have_one_name(name: str, key: str, shown: str) -> None:
    assert task_name(name, key) == shown


def test_the_figure_has_the_rows_that_ran_and_both_panels(tmp_path: Path) -> None:
    rows = rows_of(stage("read $5", 104, 108), stage("fit lstm", 110, 118), stage("momentary", 112, 112))
    draw(rows, made_log(), BEGAN, ENDED, 1_228.8, file := tmp_path / "images" / "run.svg")
    text = file.read_text()
    assert all(f">{shown}" in text for shown in ("start", "fit lstm", "read $5", "between stages", "cores busy"))
    assert "momentary" not in text


def test_a_command_is_needed_and_is_named_after_the_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--name", "demo"])
    assert "name the command after `--`" in capsys.readouterr().err


@pytest.mark.slow
def test_the_parts_of_a_real_run_are_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Both sources have what is expected of them: the store's manifests, and the tables of Prefect's server."""
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    options = ["--home", str(tmp_path / "home"), "--figure", str(tmp_path / "run.png"), "--name", "one", "--write"]
    table = main([*options, "--json", "--", "run", "--preset", ONE])["measurements"]
    whole = table["whole run"]
    parts = [row for name, row in table.items() if name.startswith("all of: ")]
    rows = [row for name, row in table.items() if isinstance(row, dict) and row not in [*parts, whole]]
    for some in (rows, parts):
        assert sum(row["share, %"] for row in some) == pytest.approx(100, abs=0.05 * len(some))
        assert sum(row["CPU s"] for row in some) == pytest.approx(whole["CPU s"], abs=0.005 * len(some) + 0.01)
    assert {"start", "end", "read", "tokens", "score", "promote: gate"} <= set(table)
    assert "between stages" not in table, "the flow of the command covers all its stages"
    assert table["start"]["CPU s"] > 0 < table["start"]["server's CPU s"]
    assert whole["peak, MiB"] > 50
    assert (tmp_path / "run.png").stat().st_size > 10_000
    [page] = tmp_path.glob("*-timeline-one.md")
    assert str(tmp_path) not in page.read_text()
    capfd.readouterr()
    again = main([*options[:2], "--json", "--", "run", "--preset", ONE])["measurements"]
    assert "read" not in again, "nothing is built in the second run"
    assert again["all of: tasks beside their stages"]["wall, s"] > 0
