"""Progress: how fast, how much is done and what is left, as log lines and on a terminal."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping

import pytest
from rich.console import Console

from reviewlm.tasks.execution import progress as room
from reviewlm.tasks.execution.progress import live_display, progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(room, "_clocks", {})
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(room.sys.stderr, "isatty", lambda: False, raising=False)
    return now


def test_a_log_line_tells_how_far_a_step_is(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "reviewlm.tasks.execution.progress"),
        progress("clean", 100_000, "reviews") as report,
    ):
        clock[0] = 10.0
        report(20_000)
    assert [record.message for record in caplog.records] == [
        "clean 20 %, 2,000 reviews/s, 40 s left"
    ]


def seconds_in(line: str) -> dict[str, int]:
    """Return the times that a line of progress names, in seconds, by the word beside each."""
    times = r"(?:(of about|planned:) )?(?:(\d+) min )?(\d+) s( left)?"
    told = re.findall(times, line.partition("/s, ")[2])
    return {
        before or after.strip(): 60 * int(minutes or 0) + int(seconds)
        for before, minutes, seconds, after in told
    }


def test_a_planned_work_tells_its_time_beside_the_planned_one(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "reviewlm.tasks.execution.progress"),
        progress("lstm", 1_000, "tokens", planned=540.0) as report,
    ):
        clock[0] = 120.0
        report(250)

    assert seconds_in(caplog.records[0].message) == {
        "left": 360,
        "of about": 480,
        "planned:": 540,
    }


def test_the_work_that_ends_a_planned_one_goes_on_with_its_clock(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "reviewlm.tasks.execution.progress"):
        with progress("lstm", 1_000, "tokens", planned=540.0):
            clock[0] = 400.0
        with progress("lstm", 1_000, "tokens") as report:
            clock[0] = 420.0
            report(500)
        with progress("lstm", 1_000, "tokens") as report:  # another fit has no plan
            clock[0] = 440.0
            report(500)

    assert seconds_in(caplog.records[0].message) == {
        "left": 20,
        "of about": 440,
        "planned:": 540,
    }
    assert seconds_in(caplog.records[1].message) == {"left": 20}


def test_time_used_and_left_of_a_planned_work_are_its_whole_time(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """A training that turns out quicker than planned: 82 s used and 82 s left are 164 s, not the planned 182 s."""
    with (
        caplog.at_level(logging.INFO, "reviewlm.tasks.execution.progress"),
        progress("lstm", 1_000, "tokens", planned=182.0) as report,
    ):
        clock[0] = 82.0
        report(500)

    told = seconds_in(caplog.records[0].message)
    assert told["left"] + 82 == told["of about"] != told["planned:"]
    line = room._Line(
        "lstm",
        1_000,
        "tokens",
        182.0,
        0.0,
    )
    line.started = 0.0
    assert re.findall(r"\d+:\d\d", line.columns(500, {})["left"]) == ["01:22", "02:44", "03:02"]


@pytest.mark.parametrize(
    ("stage", "label"), [("pace", "lstm"), ("floor", "of the test reviews"), ("observe", "gru")]
)
def test_a_stage_whose_name_says_little_is_told_in_words_with_its_label(
    stage: str, label: str
) -> None:
    told = room.activity(stage, label)
    assert label in told
    assert not told.startswith(stage)


def test_a_first_step_that_warms_up_foretells_nothing(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, "reviewlm.tasks.execution.progress"),
        progress("lstm", 1_000_000, "tokens") as report,
    ):
        for second, done in ((12.0, 10_000), (40.0, 40_000)):
            clock[0] = second
            report(done)
    assert [record.message for record in caplog.records] == [
        "lstm 1 %, 833 tokens/s",
        "lstm 4 %, 1,000 tokens/s, 16 min 0 s left",
    ]


def test_a_file_is_measured_in_bytes(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.INFO, "reviewlm.tasks.execution.progress"),
        progress("ingest", 4_000_000_000, "bytes") as report,
    ):
        clock[0] = 20.0
        report(1_000_000_000, {"reviews": 1_000_000})
    assert caplog.records[0].message == ("ingest 25 %, 50 MB/s, 1 min 0 s left; reviews 1,000,000")


LSTM = {
    "perplexity": 3.571,
    "validation_perplexity": 3.694,
    "best_perplexity": 3.694,
    "tokens_per_second": 33_802.0,
    "seconds_left": 3_900.0,
}


def shown(
    columns: int,
    label: str,
    done: int,
    total: int,
    figures: Mapping[str, float],
) -> str:
    """Return the line of one running stage on a terminal of so many columns."""
    display = live_display(
        Console(
            width=columns,
            height=25,
            file=io.StringIO(),
        )
    )
    line = room._Line(
        label,
        total,
        "tokens",
        None,
        0.0,
    )
    display.add_task(
        label,
        total=total,
        completed=done,
        **line.columns(done, figures),
    )
    with display.console.capture() as capture:
        display.console.print(display.make_tasks_table(display.tasks))
    return capture.get().rstrip("\n")


COLUMNS = pytest.mark.parametrize("columns", [80, 100, 120, 200])


@COLUMNS
def test_the_line_of_a_fit_says_how_far_it_is(columns: int, clock: list[float]) -> None:
    line = shown(
        columns,
        "lstm",
        880,
        1_000,
        LSTM,
    )
    assert re.fullmatch(
        r"lstm +━+╸?╺?━* +88% +ETA 1:05:00 +33,802 tokens/s +ppl 3\.571, val 3\.694 *", line
    )


@COLUMNS
def test_the_line_of_a_fit_fits_the_terminal(columns: int, clock: list[float]) -> None:
    fast = {"tokens_per_second": 1_234_567.0}
    assert (
        len(
            shown(
                columns,
                "lstm",
                880,
                1_000,
                LSTM,
            )
        )
        <= columns
    )
    assert (
        len(
            shown(
                columns,
                "kn5+lstm with a long name",
                300,
                1_000,
                fast,
            )
        )
        <= columns
    )


@pytest.mark.parametrize("name", ["tokens/s", "ppl"])
@pytest.mark.parametrize(("columns", "there"), [(80, True), (79, False), (50, False)])
def test_a_terminal_below_80_columns_does_without_figures(
    clock: list[float],
    columns: int,
    there: bool,
    name: str,
) -> None:
    assert (
        name
        in shown(
            columns,
            "lstm",
            880,
            1_000,
            LSTM,
        )
    ) is there


@pytest.mark.parametrize("columns", [80, 60, 50])
def test_a_narrow_terminal_shows_the_time_left(clock: list[float], columns: int) -> None:
    assert "ETA 1:05:00" in shown(
        columns,
        "lstm",
        880,
        1_000,
        LSTM,
    )


def report_long_fit(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """Report the progress of a fit of two hours."""
    with (
        caplog.at_level(logging.INFO, "reviewlm.tasks.execution.progress"),
        progress("lstm", 7_200, "tokens") as report,
    ):
        for second in range(7_200):
            clock[0] = float(second)
            report(second, LSTM)


def test_a_long_fit_writes_ever_fewer_lines(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    report_long_fit(clock, caplog)
    assert 30 < len(caplog.records) < 80
    assert caplog.records[-1].message.endswith("; perplexity 3.571, validation perplexity 3.694")


def test_a_line_of_a_long_fit_does_not_move_the_cursor(
    clock: list[float],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report_long_fit(clock, caplog)
    written = capsys.readouterr().err  # lines, if an earlier test has set up the log
    assert not {"\r", "\x1b"} & set(written)
