"""The server of one command: what happens if its start fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import NotWritable, ReviewLMError, StoreFull, TrackingUnavailable
from reviewlm.flows.server import private_server

FAILS = "import sys; sys.exit({code})"
ANSWERS = """
import socket, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *said): pass
server = HTTPServer(("127.0.0.1", 0), Health, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[1]))
server.serve_forever()
"""


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The programs that the next starts will run."""
    listed: list[str] = []

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        program = listed.pop(0)
        return subprocess.Popen(
            [sys.executable, "-c", program, command[-1]], stdin=subprocess.PIPE, **options
        )

    monkeypatch.setattr(private_server, "start_child", start)
    monkeypatch.setattr(private_server, "ASK_SECONDS", 0.2)
    return listed


def test_a_server_that_answers_is_waited_for_and_one_that_never_starts_is_an_error(
    programs: list[str],
) -> None:
    programs += [ANSWERS, FAILS.format(code=7)]
    server = private_server._PrivateServer(private_server._start, {})
    server.wait()
    server.end()
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
    programs: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    said: str,
    kind: type[ReviewLMError],
) -> None:
    traceback = (
        f"import sys; print('  File x\\n' * 700, {said!r}, file=sys.stderr); " if said else ""
    )
    programs.append(traceback + FAILS.format(code=3))
    server = private_server._PrivateServer(private_server._start, {}, tmp_path / "prefect.db")
    with pytest.raises(kind) as error:
        server.wait()
    server.end()
    assert (str(tmp_path), said) == (str(error.value.where), error.value.cause)
    assert capfd.readouterr().err == ""
