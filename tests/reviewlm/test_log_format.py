"""With REVIEWLM_LOG_FORMAT=json each log message is one JSON object on standard error."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator

import pytest

from core.errors import ConfigError
from core.services.json_logs import OF_MLFLOW, OF_PREFECT
from reviewlm import terminal
from reviewlm.terminal import VARIABLE

NAME = "json_lines_test"


@pytest.fixture
def logger(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    monkeypatch.setenv(VARIABLE, "json")
    for name, value in {**OF_PREFECT, **OF_MLFLOW}.items():  # what is set here is removed after the test
        monkeypatch.setenv(name, value)
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


def test_warnings_and_errors_of_a_command_and_of_libraries_are_objects_too(
    logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.show_warnings(["two\nlines"])
    terminal.show_error(ConfigError("no such value", where="a.b", value=3))
    logging.getLogger("some.library").warning("of a library")
    logging.getLogger("prefect.client").warning("not shown")
    logger.warning("once")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # pytest has its own way to show them
        warnings.warn("of Python", UserWarning, stacklevel=1)
    logging.captureWarnings(False)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["logger"]) for line in told] == [
        ("warning", "reviewlm"), ("error", "reviewlm"), ("warning", "some.library"), ("warning", NAME),
        ("warning", "py.warnings"),
    ]  # fmt: skip
    assert told[0]["message"] == "two\nlines"
    assert "no such value" in told[1]["message"]
    assert "UserWarning: of Python" in told[4]["message"]


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
