"""Build JSON responses, and describe the routes for OpenAPI."""

from __future__ import annotations

import secrets
import time
from typing import Any

import orjson
from fastapi import Response
from pydantic import BaseModel

from serving.api.response_schemas import ErrorAnswer
from serving.versions.open_version import OpenVersion

JSON = "application/json"
ERROR = {"$ref": "#/components/schemas/ErrorAnswer"}
ERRORS = {
    400: "A parameter is unknown or has a value that is not allowed.", 401: "The access token is missing or unknown.",
    403: "The request comes from another web page, or for another host.", 404: "There is no such model.",
    408: "The body did not arrive in time.", 413: "The body is too large.", 415: "The body is not JSON.",
    429: "The queue is full, or the token's rate is used up; Retry-After says when to try again.",
    503: "The version cannot be served, or the server is shutting down.",
    504: "The answer took longer than the server allows.",
}  # fmt: skip


def as_json(values: Any, status: int = 200) -> Response:
    """Return an answer in JSON; numbers that are not finite become null."""
    return Response(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type=JSON)


def head_of(version: OpenVersion) -> dict[str, Any]:
    """Return what a completion, and each event of a streamed one, begins with."""
    return {
        "id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion", "created": int(time.time()),
        "model": version.id, "system_fingerprint": version.fingerprint(),
    }  # fmt: skip


def described(
    schema: type[BaseModel] | None, summary: str, answer: type[BaseModel] | None, events: type[BaseModel] | None = None,
    unavailable: Any = None,
) -> dict[str, Any]:
    """Return the keyword arguments that describe a route. Answers are not checked by it: that would take time.

    Args:
        schema: What the body of a request holds; None: there is no body.
        summary: What the route is for, in one line.
        answer: What an answer holds; None: plain text.
        events: What an event of a streamed answer holds.
        unavailable: What an answer with status 503 holds; None: an error.
    """
    responses: dict[int | str, dict[str, Any]] = {200: {"description": "The answer."}}
    if answer is not None:
        responses[200]["model"] = answer
    if events is not None:
        fields = ", ".join(events.model_fields)
        stream = f"Events, each `data:` with a JSON object ({fields}); an error as everywhere; the last is `[DONE]`."
        responses[200]["content"] = {"text/event-stream": {"schema": {"type": "string", "description": stream}}}
    error: dict[str, Any] = {"model": ErrorAnswer} if answer else {"content": {JSON: {"schema": ERROR}}}
    responses |= {status: {"description": stream, **error} for status, stream in ERRORS.items()}
    if unavailable is not None:
        responses[503]["model"] = unavailable
    extra: dict[str, Any] = {}
    if schema is not None:
        extra["requestBody"] = {"required": True, "content": {JSON: {"schema": schema.model_json_schema()}}}
    return {"summary": summary, "openapi_extra": extra, "response_model": None, "responses": responses}
