"""Let servers and workers write JSON lines if REVIEWLM_LOG_FORMAT=json, by the settings that they have for it.

Prefect reads its formatters from variables, uvicorn its handlers from a file (`json_logs.json`), and MLflow leaves its
loggers alone, so that they reach those handlers. What a process prints without a logger stays text.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

VARIABLE = "REVIEWLM_LOG_FORMAT"
OF_PREFECT = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER": "json", "PREFECT_LOGGING_HANDLERS_DEBUG_FORMATTER": "json",
    "PREFECT_LOGGING_FORMATTERS_JSON_CLASS": "reviewlm.terminal.JsonLine",
}
"""Prefect's own JSON formatter does not say to which run a message of ours belongs."""
OF_MLFLOW = {"MLFLOW_CONFIGURE_LOGGING": "false"}
OF_UVICORN = Path(__file__).with_name("json_logs.json")


def wants_json() -> bool:
    """Return whether log messages are JSON lines; an unknown value of the variable means text."""
    return os.environ.get(VARIABLE, "") == "json"


def log_variables() -> dict[str, str]:
    """Return what a process needs in its environment so that Prefect and MLflow write JSON lines in it, if wanted."""
    return {**OF_PREFECT, **OF_MLFLOW} if wants_json() else {}


def uvicorn_options() -> list[str]:
    """Return the words of uvicorn's command line with which a server writes JSON lines, if wanted."""
    return ["--log-config", str(OF_UVICORN)] if wants_json() else []


def json_line(logger: str, level: str, message: str) -> str:
    """Return a line like those of `reviewlm/terminal.py`, for what is no message of a logger."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "level": level, "logger": logger, "message": message, "process": os.getpid()})
