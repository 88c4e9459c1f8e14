"""What a person sees on a terminal, in a file and in a pipe: nothing is cut, and no word is broken."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.errors import BundleError, Unreadable
from reviewlm import shown_results, terminal
from reviewlm.options import show_stages
from reviewlm.terminal import fitted, wrapped
from tasks.stage import RunRecord, StageRun, recorded_stages, step

SENTENCE = "Floor: 0.2602 bits/byte. The exact cost of these test reviews to the grammar that wrote them."


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that gives standard output a terminal of so many columns."""

    def of(number: int) -> None:
        monkeypatch.setenv("COLUMNS", str(number))
        monkeypatch.setenv("TERM", "dumb")  # no colours
        monkeypatch.setattr(terminal, "_columns_of", lambda stream: number)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    return of


@pytest.mark.parametrize("number", [40, 80, 120])
def test_a_sentence_is_wrapped_between_words(number: int, columns: Any, capsys: pytest.CaptureFixture[str]) -> None:
    columns(number)
    terminal.say(SENTENCE)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= number
    assert " ".join(line.strip() for line in lines) == SENTENCE


def test_a_sentence_in_a_pipe_or_file_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.say(SENTENCE * 3)
    assert capsys.readouterr().out == SENTENCE * 3 + "\n"


def test_a_command_is_never_broken_because_users_copy_it(columns: Any, capsys: pytest.CaptureFixture[str]) -> None:
    columns(60)
    shown_results.show_next_steps("reviewlm-demo", 1)
    shown = capsys.readouterr().out
    assert "  .venv/bin/reviewlm generate --model reviewlm-demo --stars 2\n" in shown
    assert "      write a review with this champion\n" in shown


def refused(**changes: Any) -> dict[str, Any]:
    return {"models": [], "promoted": False, "challenger": "kn5", "reason": "too slow", "champion_version": None,
            "version": 1, "registered_model": "reviewlm", "mlflow_run_id": "r", **changes}  # fmt: skip


def test_a_version_that_was_refused_comes_with_the_commands_that_use_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown_results.show_run(refused())
    shown = capsys.readouterr().out
    assert "There is no champion yet. MLflow run: r" in shown
    assert ".venv/bin/reviewlm generate --model reviewlm/1 " in shown
    assert ".venv/bin/reviewlm promote --version 1 --force --why TEXT " in shown
    shown_results.show_run(refused(registered_model="mine", version=2))
    assert "promote --model mine --version 2 --force" in capsys.readouterr().out
    shown_results.show_run(refused(champion_version=1, version=2))
    shown = capsys.readouterr().out
    assert "Champion: version 1. MLflow run: r" in shown
    assert "The model is registered, but not in use: models:/reviewlm/2. Next:" in shown
    assert ".venv/bin/reviewlm promote --version 2 --force --why TEXT " in shown


@pytest.mark.parametrize("version", [None, 1])
def test_a_challenger_that_is_the_champion_comes_without_steps(
    version: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    shown_results.show_run(refused(champion_version=1, version=version))
    assert capsys.readouterr().out.splitlines()[-1] == "Champion: version 1. MLflow run: r"


def test_what_was_measured_and_not_expected_has_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    reached = {"minutes": 2.0, "bits": 1.868, "inside": True}
    expected = {"low": 1.868, "high": 1.868}
    shown_results.show_run(refused(plan={"minutes": 5, "expected": expected, "reached": reached}))
    shown = capsys.readouterr().out
    assert "Plan: 2.0 of 5 min. On validation 1.868 open bits/byte.\n" in shown


@pytest.mark.parametrize(("called", "found", "shown"), [
    (".venv/bin/reviewlm", None, "`.venv/bin/reviewlm services password` shows it"),
    (".venv/bin/reviewlm", "/home/.venv/bin/reviewlm", "`reviewlm services password` shows it"),
    ("/usr/lib/pytest.py", None, "`reviewlm services password` shows it"),
])  # fmt: skip
def test_a_hint_can_be_typed_as_it_stands(
    called: str, found: str | None, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [called])
    monkeypatch.setattr("shutil.which", lambda name: found)
    terminal.program.cache_clear()
    hint = "`reviewlm services password` shows it"
    terminal.say(hint)
    terminal.show_facts({"password": hint})
    terminal.show_warnings([hint])
    terminal.show_error(BundleError("No champion", remedy=hint))
    said = capsys.readouterr()
    terminal.program.cache_clear()
    assert (said.out + said.err).count(shown) == 4


def test_continued_lines_keep_indentation() -> None:
    assert wrapped("    four words of text here", 24) == "    four words of text\n    here"


@pytest.mark.parametrize(
    ("stars", "shown"), [(4, "★★★★☆"), (0, "(without a rating)"), (None, "(no rating requested)")]
)
def test_a_generated_review_has_its_rating_above_it(
    stars: int | None, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_review(stars, "Great tacos.")
    assert capsys.readouterr().out.split("\n")[1:3] == [shown, "  Great tacos."]


@pytest.mark.parametrize("number", [80, 100, 120])
def test_words_of_a_sample_are_not_broken(number: int, columns: Any, capsys: pytest.CaptureFixture[str]) -> None:
    columns(number)
    review = "Nobody makes the chicken tikka masala like this place. " * 5 + "a-word-" * 12 + "x"
    terminal.show_review(5, review)
    shown = capsys.readouterr().out
    assert shown.split()[1:] == review.split()
    assert all(len(line) <= number or " " not in line.strip() for line in shown.splitlines())


def row(**cells: Any) -> dict[str, str]:
    return {name.replace("_", " "): str(value) for name, value in cells.items()}


WIDE = [row(model="kn5+lstm", open_bits="0.471 ±0.011", per_word="5.788", oov="516")]
"""Widths of the cells: 8, 12, 8 (5 with a broken heading) and 3; lines and padding take 13."""


@pytest.mark.parametrize(
    ("number", "widths", "left_out"),
    [
        (44, (8, 12, 8, 3), ()),
        (43, (8, 12, 7, 3), ()),  # the heading "per word" takes two lines
        (41, (8, 12, 5, 3), ()),
        (40, (8, 12, 8), ("oov",)),
        (32, (8, 12), ("oov", "per word")),
        (26, None, ()),  # neither is spare: each row becomes a list
    ],
)
def test_a_narrow_table_folds_headings_then_leaves_out_columns_in_order_then_becomes_a_list(
    number: int, widths: tuple[int, ...] | None, left_out: tuple[str, ...]
) -> None:
    table = fitted(WIDE, ("oov", "per word"), number)
    assert (tuple(table.columns.values()) if table.columns else None, table.left_out) == (widths, left_out)


@pytest.mark.parametrize(("number", "left_out"), [(80, "oov, unit, hit@1"), (100, ""), (120, "")])
def test_the_table_of_models_fits_common_terminals_and_says_what_it_leaves_out(
    number: int, left_out: str, columns: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    columns(number)
    test = {
        "perplexity": 294.5, "word_perplexity": 1075.1, "open_bits_per_byte": 1.874, "open_bits_per_byte_lo": 1.864,
        "open_bits_per_byte_hi": 1.884, "gap": 1.614, "gap_lo": 1.604, "gap_hi": 1.624, "gain": -2.183, "hit@1": 0.0924,
        "oov": 516,
    }  # fmt: skip
    models = [{"name": name, "unit": "word", "test": test} for name in ("kn5+lstm", "unigram")]
    floor = {"bits_per_byte": 0.26, "statement": "No model can need less."}
    shown_results.show_models({"models": models, "baseline": "kn5", "floor": floor})
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= number
    assert "≈" not in shown, "the sign is explained only where it is shown"
    for whole in ("kn5+lstm", "unigram", "1.874 ±0.010", "+218.3%", "vs kn5: change of open"):
        assert whole in shown
    assert (f"Left out of lines with {number} columns: {left_out}." in shown) == bool(left_out)


def test_a_lone_baseline_is_compared_with_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    test = {"perplexity": 5.0, "word_perplexity": 9.0, "open_bits_per_byte": 0.6, "open_bits_per_byte_lo": 0.5,
            "open_bits_per_byte_hi": 0.7, "gain": 0.0}  # fmt: skip
    models = [{"name": "kn5", "unit": "word", "test": test}]
    shown_results.show_models({"models": models, "baseline": "kn5"})
    shown = capsys.readouterr().out
    assert "vs kn5" not in shown


def test_two_wide_columns_share_the_room_so_that_neither_becomes_a_column_of_single_words() -> None:
    rows = [{"purpose": "word " * 40, "models": "lstm, " * 12}]
    table = fitted(rows, (), 80)
    assert table.columns is not None
    assert sum(table.columns.values()) + 2 * 3 + 1 == 80
    assert min(table.columns.values()) >= 30


def test_a_table_without_spare_columns_becomes_a_list_whose_names_are_whole(
    columns: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    columns(30)
    names = [f"a-mixture-with-a-long-name-{last}" for last in "xy"]
    terminal.show_rows([{"model": name, "perplexity": 1_234.5, "seconds": 2} for name in names])
    shown = capsys.readouterr().out
    assert all(name in shown for name in names)
    assert shown.count("perplexity  1,234.5") == 2


def test_a_table_without_rows_says_what_there_is_none_of_and_nothing_if_nothing_was_asked(
    capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_rows([], "Open bits per byte by month")
    terminal.show_rows([])
    assert capsys.readouterr().out == "Open bits per byte by month: none\n"


def test_warnings_begin_with_their_name_and_other_messages_with_the_time(
    capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("shown")
    terminal.log_to_stderr(["shown"])
    logger.warning("'lstm' is left out; run `reviewlm run --until train`")
    logger.info("reading")
    logger.debug("score lstm 0.5 s")
    terminal.show_details(True)
    logger.debug("score kn5 0.1 s")
    logger.handlers.clear()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: 'lstm' is left out; run `reviewlm run --until train`"
    assert [line.partition("  ")[2] for line in lines[1:]] == ["reading", "score kn5 0.1 s"]


def recorded(*runs: tuple[str, str, str, bool, float], steps: Mapping[str, float]) -> RunRecord:
    return RunRecord([StageRun(*one) for one in runs], dict(steps))


def test_a_run_that_built_nothing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    stages = [("read", "a", "ingest", True, 0.0), ("fit", "lstm", "train", True, 0.0)]
    show_stages(recorded(*stages, steps={"ingest": 1.0, "train": 2.0}), 24.2)
    assert capsys.readouterr().out == "2 of 2 results re-used, 24 s\n"


def test_a_run_that_built_something_says_how_long_each_step_took(capsys: pytest.CaptureFixture[str]) -> None:
    stages = [
        ("read", "a", "ingest", True, 0.0), ("fit", "kn5", "train", False, 1.04), ("fit", "lstm", "train", False, 52.1),
        ("score", "kn5 test", "evaluate", False, 0.5), ("score", "lstm test", "evaluate", False, 0.25),
    ]  # fmt: skip
    show_stages(recorded(*stages, steps={"ingest": 1.0, "train": 55.0, "evaluate": 4.0}), 75.0)
    line = "1 of 5 results re-used, 1 min 15 s: ingest 1 s, train 55 s, evaluate 4 s\n"
    assert capsys.readouterr().out == line


def test_the_steps_of_a_run_are_told_at_their_start_and_timed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tasks.stage"), recorded_stages() as record:
        with recorded_stages() as inner, step("ingest", "read the reviews"):
            pass
        with step("train", "fit 2 models"):
            pass
    assert caplog.messages == ["ingest   read the reviews", "train    fit 2 models"]
    assert inner is record  # a flow within a command goes on with the command's record
    assert list(record.steps) == ["ingest", "train"]
    assert all(seconds >= 0 for seconds in record.steps.values())


@pytest.mark.parametrize(
    ("display", "opens", "shown"), [(":0", True, ""), (":0", False, "Not opened"), ("", True, "no display")]
)
def test_a_report_is_opened_in_a_window_or_one_line_says_why_not(
    display: str, opens: bool, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked: list[str] = []
    for name in ("WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setattr(shown_results.sys, "platform", "linux")
    monkeypatch.setattr(shown_results.webbrowser, "open", lambda address: asked.append(address) or opens)
    page = tmp_path / "report.html"
    shown_results.show_report({"report": str(page)}, to_open=True)
    out = capsys.readouterr().out
    assert out.startswith(f"Report: {page}\n")
    assert shown in out
    assert len(out.splitlines()) == 1 + bool(shown)
    assert asked == ([page.as_uri()] if display else [])


def test_a_stream_that_is_no_terminal_gets_whole_lines() -> None:
    assert terminal.for_stream(SENTENCE * 3, io.StringIO()) == SENTENCE * 3


def test_a_file_of_texts_in_another_encoding_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("caf\u00e9\n".encode("latin-1"))
    with pytest.raises(Unreadable) as error:
        terminal.read_texts(str(file))
    assert "iconv -f LATIN1 -t UTF-8" in error.value.remedy


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_bytes_that_are_not_utf8_are_refused_from_standard_input_too(
    errors: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python hides such bytes as half characters where the locale is POSIX."""
    file = tmp_path / "latin1.txt"
    file.write_bytes(b"fine\nlatin1 caf\xe9\n")
    for name in (str(file), "-"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes()), "utf-8", errors))
        with pytest.raises(Unreadable) as caught:
            terminal.read_texts(name)
        assert caught.value.where == f"{name}, line 2"


def test_the_mark_of_utf8_and_the_kind_of_line_ends_are_no_part_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "windows.txt").write_bytes("\ufeffcafé\r\n\r\ntwo\u2028lines\rlast".encode())
    assert terminal.read_lines(str(tmp_path / "windows.txt")) == [(1, "café"), (3, "two\u2028lines"), (4, "last")]
