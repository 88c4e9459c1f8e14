"""The benchmark over HTTP: its client reads whole and chunked answers; its model writes texts of the asked length."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import cast

import pytest

from benchmarks.serving import serve_http
from benchmarks.serving.http_load import Answer, Load, post, send_all
from benchmarks.serving.made_home import SPEC, made_bundle
from benchmarks.serving.serve_http import slowest, tokens_of
from benchmarks.serving.servers import Served
from core.config.presets import load_config
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


@pytest.mark.parametrize("differ", [False, True])
def test_texts_must_not_depend_on_the_number_of_clients(differ: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(port: int, requests: Sequence[bytes], streams: int) -> Load:
        bodies = [json.dumps({"choices": [{"text": f"{number} {streams if differ else 0}"}]}) for number in range(4)]
        return Load([Answer(0.0, body=body.encode()) for body in (bodies if streams > 1 else bodies[::-1])], 1.0)

    def timed(served: object, asked: object, warm: object, streams: int, *rest: object) -> dict[str, int]:
        return {"tokens_per_s": 100 * streams}

    monkeypatch.setattr(serve_http, "send_all", answered)
    monkeypatch.setattr(serve_http, "speed", timed)
    served = cast(Served, SimpleNamespace(port=1))
    if differ:
        with pytest.raises(RuntimeError, match="whole: texts of one client and of 32 differ"):
            serve_http.measure_clients(served, 1)
    else:
        rows = serve_http.measure_clients(served, 1)
        assert [serve_http.clients_ratio(rows, name).value for name in ("whole", "exact")] == [32.0, 32.0]


def test_the_slowest_text_counts_from_its_request_to_its_end() -> None:
    answers = [Answer(sent=1.0, first=1.5, ended=3.0), Answer(sent=2.0, first=2.1, ended=7.0)]
    assert slowest(Load(answers, 6.0), 200) == 40.0


def test_a_server_of_many_streams_gets_settings_that_it_knows() -> None:
    serving = load_config("small", serve_http.raised_limits(1_000)).serving
    assert (serving.max_streams, serving.request_seconds) == (1_000, 3_600)


@pytest.mark.long
def test_the_made_model_never_ends_a_text() -> None:
    spec = replace(SPEC, hidden=24, embedding=24)
    bundle = made_bundle(["The food was good.", "The soup was cold, and the staff was slow."] * 9, 40, spec)
    assert all(len(bundle.vocabulary.encode(text)) >= 40 for text in generate(bundle, 3, 4, max_tokens=40, seed=1))
