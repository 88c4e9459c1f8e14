"""Functions are called in a process that imports their libraries early, or here where that process cannot do it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from reviewlm.core.processes import ahead
from reviewlm.core.processes.ahead import call_ahead, imported_ahead
from reviewlm.core.processes.forks import can_fork
from tests.core.processes.ahead_calls import end_process, fail, process_of_call

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system cannot fork")
LIBRARIES = ["colorsys", "no.such.library"]


@pytest.fixture
def process() -> Iterator[None]:
    with imported_ahead(LIBRARIES):
        yield


@pytest.mark.usefixtures("process")
def test_calls_of_the_block_are_done_by_one_other_process() -> None:
    first, value = call_ahead(process_of_call, ("a", 1))
    second, _ = call_ahead(process_of_call, None)
    assert value == ("a", 1)
    assert first == second != os.getpid()


@pytest.mark.usefixtures("process")
def test_an_error_is_raised_here() -> None:
    with pytest.raises(ValueError, match=f"no luck in {os.getpid()}"):
        call_ahead(fail, "no luck")


@pytest.mark.usefixtures("process")
def test_what_cannot_be_sent_is_called_here() -> None:
    done_by, _ = call_ahead(process_of_call, lambda: None)
    assert done_by == os.getpid()
    done_by, _ = call_ahead(process_of_call, None)
    assert done_by != os.getpid()


def test_a_call_is_done_here_after_the_process_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARENT", str(os.getpid()))
    with imported_ahead(LIBRARIES):
        assert call_ahead(end_process) == os.getpid()
        assert call_ahead(process_of_call, None)[0] == os.getpid()


def test_the_process_ends_with_the_block() -> None:
    with imported_ahead(LIBRARIES):
        done_by, _ = call_ahead(process_of_call, None)

    with pytest.raises(ProcessLookupError):
        os.kill(done_by, 0)
    assert call_ahead(process_of_call, None)[0] == os.getpid()


def test_without_libraries_no_process_is_forked() -> None:
    with imported_ahead([]):
        assert call_ahead(process_of_call, None)[0] == os.getpid()


def test_where_the_system_cannot_fork_calls_are_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "can_fork", lambda: False)
    with imported_ahead(LIBRARIES):
        assert call_ahead(process_of_call, None)[0] == os.getpid()
