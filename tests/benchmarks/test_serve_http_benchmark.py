"""The benchmark over HTTP: its client reads whole and chunked answers; its model writes texts of the asked length."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.http_load import post, send_all
from benchmarks.made_home import SPEC, made_bundle
from benchmarks.serve_http import tokens_of
from models.sampling import generate

EVENTS = (b'data: {"text":"a"}\n\n', b'data: {"usage":{"completion_tokens":7}}\n\n', b"data: [DONE]\n\n")


class Handler(BaseHTTPRequestHandler):
    """Answers in chunks, each in two parts, or at once."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        if self.path == "/stream":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in (*EVENTS, b""):
                self.wfile.write(f"{len(event):x}\r\n".encode())
                self.wfile.flush()
                self.wfile.write(event + b"\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_the_client_reads_every_answer_to_its_end(port: int) -> None:
    load = send_all(port, [post("/stream", {})] * 9, 4)
    assert tokens_of(load, 7) == 63
    assert all(answer.body.count(b"data: ") == 3 for answer in load.answers)
    assert all(answer.sent < answer.first <= answer.ended for answer in load.answers)
    assert 0 < load.first_ms(0.5) <= load.first_ms(0.99) <= 1000 * load.seconds


def test_an_answer_that_is_cut_short_is_an_error(port: int) -> None:
    assert tokens_of(send_all(port, [post("/echo", {"predictions": ["a"]})] * 3, 2), 200) == 600
    with pytest.raises(RuntimeError, match="incomplete"):
        tokens_of(send_all(port, [post("/stream", {})], 1), 8)


@pytest.mark.long
def test_the_made_model_never_ends_a_text() -> None:
    spec = replace(SPEC, hidden=24, embedding=24)
    bundle = made_bundle(["The food was good.", "The soup was cold, and the staff was slow."] * 9, 40, spec)
    assert all(len(bundle.vocabulary.encode(text)) >= 40 for text in generate(bundle, 3, 4, max_tokens=40, seed=1))
