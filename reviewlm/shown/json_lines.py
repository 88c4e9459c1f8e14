"""Write log messages as JSON lines, for programs that collect logs: REVIEWLM_LOG_FORMAT=json."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

from core.services.json_logs import VARIABLE

KNOWN = ("text", "json")
OF_PREFECT = {"flow": "flow_name", "flow_run": "flow_run_name", "flow_run_id": "flow_run_id"}
"""Our key of what Prefect attaches to its own messages about a flow run."""


def unknown_format() -> str:
    """Return a sentence about an unknown value of the variable, or an empty string."""
    value = os.environ.get(VARIABLE, "")
    return "" if value in ("", *KNOWN) else f"{VARIABLE} is {value!r}; known are {' and '.join(KNOWN)}"


class JsonLine(logging.Formatter):
    """Formatter that makes one JSON object of a message; servers and workers use it too (`core/services/json_logs.py`).

    Its keys: time (UTC), level, logger, message, process; in a flow run, or about one, also flow, flow_run (its name)
    and flow_run_id; of an error also exception.
    """

    def __init__(self, *settings: object, **named: object) -> None:
        """Ignore what a logging configuration says of the format."""
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Control characters in a message are escaped, as JSON does."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
            "process": record.process, **_flow_run(record),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def _flow_run(record: logging.LogRecord) -> dict[str, str]:
    """Return the flow run that a message is about, or that of this thread.

    Prefect is not imported for that, because it takes a second.
    """
    if about := {key: str(value) for key, name in OF_PREFECT.items() if (value := getattr(record, name, None))}:
        return about
    if "prefect.context" not in sys.modules:
        return {}
    from flows.server.own_runs import flow_run_names

    return flow_run_names()
