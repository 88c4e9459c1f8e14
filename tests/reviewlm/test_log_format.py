"""With REVIEWLM_LOG_FORMAT=json each log message is one JSON object on standard error."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from reviewlm import terminal
from reviewlm.shown.json_lines import VARIABLE

NAME = "json_lines_test"


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    monkeypatch.setenv(VARIABLE, "json")
    terminal.log_to_stderr([NAME])
    yield logging.getLogger(NAME)
    logging.getLogger(NAME).handlers.clear()
    monkeypatch.delenv(VARIABLE)
    terminal.log_to_stderr([])


def test_a_message_is_one_object_whatever_it_contains(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.warning("a line\nand %s", '"quotes", ü and \x1b[31m')
    [line] = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told["message"] == 'a line\nand "quotes", ü and \x1b[31m'
    assert (told["level"], told["logger"]) == ("warning", NAME)
    assert told["time"].endswith("+00:00")
    assert "\x1b" not in line


def test_an_exception_is_in_its_object(logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("no soup")
    except ValueError:
        logger.exception("stopped")
    [line] = capsys.readouterr().err.splitlines()
    assert json.loads(line)["exception"].endswith("ValueError: no soup")


def test_an_unknown_format_is_told_and_text_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "jsno")
    terminal.log_to_stderr([NAME])
    logging.getLogger(NAME).info("reading")
    logging.getLogger(NAME).handlers.clear()
    warning, line = capsys.readouterr().err.splitlines()
    assert warning == f"warning: {VARIABLE} is 'jsno'; known are text and json"
    assert line.endswith("reading")
