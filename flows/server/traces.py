"""Send spans of flows and stages to an OpenTelemetry collector, if the environment names one.

Prefect makes a span for each flow run and each task run, `tasks/stage.py` one for each stage. Nothing
receives them unless the process has a provider, which must be there before the first flow begins: `flows/__init__.py`
calls `send_traces`.
"""

from __future__ import annotations

import logging
import os

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
TIMEOUTS = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
SECONDS = 2.0
"""Time for sending a batch, with all attempts, unless the environment says another. With OpenTelemetry's 10 seconds a
command would end that much later if the collector is away."""
NAME_VARIABLE, NAME = "OTEL_SERVICE_NAME", "reviewlm"
log = logging.getLogger(__name__)


def send_traces() -> bool:
    """Send the spans of this process to the collector that OpenTelemetry's variables name; return whether they are."""
    if not any(os.environ.get(variable) for variable in ENDPOINTS):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        install = "pip install -c constraints.txt -e '.[otel]'"
        log.warning("%s is set, but spans cannot be sent: %s", " or ".join(ENDPOINTS), install)
        return False
    from opentelemetry import trace
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: os.environ.get(NAME_VARIABLE, NAME)}))
    seconds = None if any(os.environ.get(variable) for variable in TIMEOUTS) else SECONDS
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=seconds)))
    trace.set_tracer_provider(provider)
    return True
