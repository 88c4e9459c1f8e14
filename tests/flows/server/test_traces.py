"""With a collector in the environment, a run's flow and stages arrive there as spans of one trace."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra 'otel'")
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from flows.server.traces import ENDPOINTS, send_traces

ROOT = Path(__file__).resolve().parents[3]
RUN = """
from prefect import flow
import flows
from flows.server.private_server import private_server
from tasks.stage import stage
@stage("count")
def count(last):
    return last
@flow(name="counting", flow_run_name="counting")
def counting():
    return count(3)
with private_server():
    counting()
"""


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
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


@pytest.mark.slow
@pytest.mark.long  # a Prefect server of its own
def test_a_flow_and_its_stages_are_spans_of_one_trace(endpoint: str, tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**clean, ENDPOINTS[0]: endpoint, "PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2_000:]
    services, spans = {name for name, _ in Collector.spans}, {span.name: span for _, span in Collector.spans}
    [flow] = [span for name, span in spans.items() if "counting" in name]
    [stage] = [span for name, span in spans.items() if "count" in name and "counting" not in name]
    assert services == {"reviewlm"}
    assert stage.trace_id == flow.trace_id
    assert flow.start_time_unix_nano <= stage.start_time_unix_nano <= stage.end_time_unix_nano


def test_without_a_collector_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ENDPOINTS:
        monkeypatch.delenv(variable, raising=False)
    assert not send_traces()
