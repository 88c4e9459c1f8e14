"""Make answers in JSON, and describe the routes for OpenAPI."""

from __future__ import annotations

import secrets
import time
from typing import Any

import orjson
from fastapi import Response
from pydantic import BaseModel

from serving.versions.open_version import OpenVersion

JSON = "application/json"
ERROR: dict[str, Any] = {
    "type": "object", "required": ["error"],
    "properties": {"error": {
        "type": "object", "required": ["message", "type", "param", "code"],
        "properties": {
            "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": ["string", "null"]},
            "code": {"type": "string"},
        },
    }},
}  # fmt: skip
ERRORS = {
    400: "A parameter is unknown or has a value that is not allowed.", 401: "The access token is missing or unknown.",
    403: "The request comes from another web page, or for another host.", 404: "There is no such model.",
    408: "The body did not arrive in time.", 413: "The body is too large.", 415: "The body is not JSON.",
    429: "The queue is full, or the token's rate is used up; Retry-After says when to try again.",
    503: "The version cannot be served, or the server is being ended.",
    504: "The answer took longer than the server allows.",
}  # fmt: skip


def as_json(values: Any, status: int = 200) -> Response:
    """Return an answer in JSON; numbers that are not finite become null."""
    return Response(orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type=JSON)


def head_of(version: OpenVersion, exact: bool) -> dict[str, Any]:
    """Return what a completion, and each event of a streamed one, begins with; *exact*: computed in float32."""
    return {
        "id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion", "created": int(time.time()),
        "model": version.id, "system_fingerprint": version.fingerprint(exact),
    }  # fmt: skip


def described(schema: type[BaseModel] | None, summary: str, event_stream: bool = False) -> dict[str, Any]:
    """Return the keyword arguments that describe a route: body, answers, errors."""
    content = {JSON: {"schema": {"type": "object"}}}
    if event_stream:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    errors = {status: {"description": said, "content": {JSON: {"schema": ERROR}}} for status, said in ERRORS.items()}
    extra: dict[str, Any] = {}
    if schema is not None:
        extra["requestBody"] = {"required": True, "content": {JSON: {"schema": schema.model_json_schema()}}}
    return {
        "summary": summary, "openapi_extra": extra, "response_model": None,
        "responses": {200: {"description": "The answer.", "content": content}, **errors},
    }  # fmt: skip
