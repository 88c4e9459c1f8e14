"""Make an OpenTelemetry span of each stage that a run asks for, below Prefect's span of the task.

Without a collector (`flows/server/traces.py`) the interface that Prefect has imported anyway drops what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry import trace
from prefect.runtime import flow_run

from core.store import Built

OUTCOME, DIGEST = "reviewlm.outcome", "reviewlm.digest"
MADE, FINISHED, FAILED = "made", "already finished", "failed"
_tracer = trace.get_tracer("reviewlm")


@contextmanager
def stage_span(stage: str, label: str) -> Iterator[Callable[[Built], None]]:
    """Record the block as a span; yield a function that adds the result. An exception makes it a span with an error."""
    with _tracer.start_as_current_span(f"{stage} {label}".strip()) as span:
        if not span.is_recording():
            yield lambda built: None
            return
        run = str(flow_run.id or "")
        span.set_attributes({"reviewlm.stage": stage, "reviewlm.flow_run_id": run, OUTCOME: FAILED})
        yield lambda built: span.set_attributes(
            {OUTCOME: FINISHED if built.reused else MADE, DIGEST: built.artifact.digest}
        )
