"""With a collector in the environment, a run is one trace there: its flow, tasks and stages with their outcomes."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra 'otel'")
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from flows.server.traces import ENDPOINTS, SECONDS, TIMEOUTS, send_traces
from tests.flows.first_run import TINY, answer, user_environment

RUN = """
from prefect import flow
import flows
from core.config.presets import load_config
from flows.server.private_server import private_server
from tasks.stage import run_stage, stage

config = load_config("small", ["execution.workers=1"])

@stage("count")
def count(fail):
    def make(work):
        if fail:
            raise ValueError("no numbers")
        return {"last": (work / "last").write_text("3")}
    return run_stage(config, "count", {"fail": fail}, {}, make, "three").artifact.facts["last"]

@flow(name="counting", flow_run_name="counting")
def counting():
    assert count(False) == count(False)
    try:
        count(True)
    except ValueError as error:
        print(error)

with private_server():
    counting()
"""
Span = Any
"""A span of OpenTelemetry's protocol."""


class Collector(BaseHTTPRequestHandler):
    """Keeps the spans that are posted, with the name of the service."""

    spans: ClassVar[list[tuple[str, Any]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans.extend((named["service.name"], span) for span in scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *said: Any) -> None:
        """Stay silent."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    Collector.spans.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent_endpoint() -> Iterator[str]:
    """An address that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def closed_endpoint() -> str:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


def run(endpoint: str, home: Path) -> str:
    """Run the flow in a process of its own, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", RUN], env={**user_environment(home), ENDPOINTS[0]: endpoint},
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout


def facts(span: Span) -> dict[str, str]:
    return {one.key.removeprefix("reviewlm."): one.value.string_value for one in span.attributes}


def received() -> tuple[Span, list[Span]]:
    """Return the root of the only trace, and the spans of its stages in the order of their start."""
    spans = [span for _, span in Collector.spans]
    [root] = [span for span in spans if not span.parent_span_id]
    assert {span.trace_id for span in spans} == {root.trace_id}
    known = {span.span_id for span in spans}
    assert all(span.parent_span_id in known for span in spans if span is not root)
    assert all(root.start_time_unix_nano <= span.start_time_unix_nano for span in spans)
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans)
    return root, sorted((span for span in spans if "stage" in facts(span)), key=lambda span: span.start_time_unix_nano)


@pytest.mark.slow
@pytest.mark.long  # a Prefect server of its own
def test_the_stages_of_a_flow_are_spans_of_its_trace_with_their_outcome(endpoint: str, tmp_path: Path) -> None:
    assert run(endpoint, tmp_path) == "no numbers\n"
    root, stages = received()
    assert {service for service, _ in Collector.spans} == {"reviewlm"}
    assert [(span.name, facts(span)["outcome"]) for span in stages] == [
        ("count three", "made"), ("count three", "already finished"), ("count three", "failed"),
    ]  # fmt: skip
    assert {facts(span)["flow_run_id"] for span in stages} == {facts(root)["prefect.run.id"]}
    assert [span.status.code == Status.STATUS_CODE_ERROR for span in stages] == [False, False, True]
    assert "no numbers" in stages[2].status.message


@pytest.mark.slow
@pytest.mark.long  # two retrains
@pytest.mark.timeout(1200)
def test_a_retrain_is_one_trace_with_every_stage_and_the_next_one_another(endpoint: str, tmp_path: Path) -> None:
    (preset := tmp_path / "counts.toml").write_text(Path(TINY).read_text().split('[[models]]\nkind = "lstm"')[0])
    traces, store = [], tmp_path / "home" / "store"
    for again in (False, True):
        Collector.spans.clear()
        ran = answer(tmp_path / "home", "run", "--preset", str(preset), **{ENDPOINTS[0]: endpoint})
        root, stages = received()
        traces.append(root.trace_id)
        assert facts(root)["prefect.run.type"] == "flow"
        assert len({facts(span)["stage"] for span in stages}) == ran["stages"]
        made = {facts(span)["digest"] for span in stages if facts(span)["outcome"] == "made"}
        assert made == (set() if again else {result.name for result in store.glob("[!.]*/*")})
        assert all(facts(span)["outcome"] == "already finished" for span in stages if again)
        assert all(facts(span)["flow_run_id"] for span in stages)
    assert traces[0] != traces[1]


@pytest.mark.slow
@pytest.mark.long  # a Prefect server of its own, each
@pytest.mark.parametrize("away", ["silent_endpoint", "closed_endpoint"])
def test_a_collector_that_is_away_changes_nothing(away: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert run(request.getfixturevalue(away), tmp_path) == "no numbers\n"


def test_without_a_collector_nothing_is_sent_and_nothing_imported_for_it(tmp_path: Path) -> None:
    script = "import sys, flows, tasks.stage; print([name for name in sys.modules if 'otlp' in name])"
    clean = {name: value for name, value in user_environment(tmp_path).items() if name not in ENDPOINTS}
    done = subprocess.run([sys.executable, "-c", script], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_batch_is_given_up_soon_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of a command the last batch is waited for."""
    asked: list[float | None] = []
    monkeypatch.setattr(trace_exporter, "OTLPSpanExporter", lambda timeout: asked.append(timeout))
    monkeypatch.setattr("opentelemetry.sdk.trace.export.BatchSpanProcessor", lambda exporter: None)
    monkeypatch.setattr("opentelemetry.sdk.trace.TracerProvider.add_span_processor", lambda self, processor: None)
    monkeypatch.setattr("opentelemetry.trace.set_tracer_provider", lambda provider: None)
    monkeypatch.setenv(ENDPOINTS[0], "http://127.0.0.1:1")
    assert send_traces()
    monkeypatch.setenv(TIMEOUTS[0], "30")
    assert send_traces()
    assert asked == [SECONDS, None]
