"""Query a Prefect server over HTTP without importing Prefect, whose import takes seconds."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any


def ask(environment: Mapping[str, str], method: str, path: str, body: Any, seconds: float) -> Any:
    """Send a request to the server that an environment names, and return the answer as JSON; None if it is empty.

    Args:
        environment: PREFECT_API_URL and what Prefect's own client would send as user.
        method: HTTP method.
        path: Path below PREFECT_API_URL.
        body: JSON values; None: no body.
        seconds: Time to wait.

    Raises:
        OSError, ValueError: The server does not answer, or with an error.
    """
    headers = {"Content-Type": "application/json", **_authorization(environment)}
    address = f"{environment['PREFECT_API_URL']}{path}"
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, content, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:
            text = answer.read()
    except HTTPException as error:  # half an answer, of a server that was killed just now
        raise OSError(f"{address}: {error!r}") from error
    return json.loads(text) if text else None


def _authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the header by which Prefect's own client names its user."""
    if key := environment.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if credentials := environment.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
    return {}
