"""A server that answers like Prefect's about one run, for its heartbeats and the states that it is told of."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Prefect(ThreadingHTTPServer):
    """Keeps path, user and events of each request; refuses the first one. Knows the states of one run."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.received: list[tuple[str, str | None, list[dict[str, Any]]]] = []
        self.several = threading.Event()
        self.states = ["RUNNING"]
        """What the run is at each look, from the first to the last one, which stays.

        Type of the state; its id, if that matters; message after a colon.
        """
        self.before = ""
        """Type of the state before that with the id "another"; "": the server does not say it."""
        self.refused = 0
        """Changes of the state that are still to be refused."""
        self.set: list[dict[str, Any]] = []


class Answer(BaseHTTPRequestHandler):
    server: Prefect

    def do_GET(self) -> None:
        if self.path == "/api/flow_run_states/?flow_run_id=a-run":
            self.send_response(200 if self.server.before else 503)
            self.end_headers()
            kinds = {"earlier": "PENDING", "mine": "RUNNING", "between": self.server.before, "another": "RUNNING"}
            self.wfile.write(json.dumps([{"id": known, "type": kind} for known, kind in kinds.items()]).encode())
            return
        assert self.path == "/api/flow_runs/a-run"
        states = self.server.states
        state = states.pop(0) if len(states) > 1 else states[0]
        self.send_response(200 if state else 503)
        self.end_headers()
        words, _, message = state.partition(": ")
        kind, _, known = words.partition(" ")
        told = {"id": known or "mine", "type": kind, "message": message or None}
        self.wfile.write(json.dumps({"state": told}).encode())

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/flow_runs/a-run/set_state":
            self.send_response(503 if self.server.refused else 201)
            if not self.server.refused:
                self.server.set.append(told)
            self.server.refused = max(0, self.server.refused - 1)
            self.end_headers()
            self.wfile.write(json.dumps({"status": "ACCEPT"}).encode())
            return
        self.server.received.append((self.path, self.headers["Authorization"], told))
        self.send_response(503 if len(self.server.received) == 1 else 204)
        self.end_headers()
        if len(self.server.received) == 3:
            self.server.several.set()

    def log_message(self, *said: Any) -> None:
        """Stay silent."""


class Over(Exception):
    """The test has seen enough looks."""
