"""The server of one command: what happens if its start fails."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from reviewlm.core.errors import NotWritable, ReviewLMError, StoreFull, TrackingUnavailable
from reviewlm.flows.server import private_server
from tests.programs import command


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that the next starts will run, without the number of the socket."""
    listed: list[list[str]] = []

    def start(asked: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*listed.pop(0), asked[-1]], stdin=subprocess.PIPE, **options)

    monkeypatch.setattr(private_server, "start_child", start)
    monkeypatch.setattr(private_server, "ASK_SECONDS", 0.2)
    return listed


def test_a_server_that_answers_is_waited_for(programs: list[list[str]]) -> None:
    programs.append(command("answer_health"))
    server = private_server._PrivateServer(private_server._start, {})
    server.wait()
    with urlopen(f"{server.address}/api/health", timeout=5) as answer:
        assert answer.status == 200

    server.end()
    with pytest.raises(URLError):
        urlopen(f"{server.address}/api/health", timeout=5)


def test_a_server_that_never_starts_is_an_error(programs: list[list[str]]) -> None:
    programs.append(command("fail_at_start", 7))
    server = private_server._PrivateServer(private_server._start, {})
    with pytest.raises(TrackingUnavailable, match="ended with exit code 7"):
        server.wait()
    server.end()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (
            "sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database or disk is full",
            StoreFull,
        ),
        ("OSError: [Errno 28] No space left on device: '/home/prefect/x'", StoreFull),
        ("OSError: [Errno 122] Disk quota exceeded", StoreFull),
        ("sqlite3.OperationalError: attempt to write a readonly database", NotWritable),
    ],
)
def test_a_disk_that_refuses_the_server_is_one_error_without_the_server_s_traceback(
    programs: list[list[str]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    said: str,
    kind: type[ReviewLMError],
) -> None:
    programs.append(command("fail_at_start", 3, said))
    server = private_server._PrivateServer(private_server._start, {}, tmp_path / "prefect.db")
    with pytest.raises(kind) as error:
        server.wait()
    server.end()
    assert (str(tmp_path), said) == (str(error.value.where), error.value.cause)
    assert capfd.readouterr().err == ""
