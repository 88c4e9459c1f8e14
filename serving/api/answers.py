"""Build answers in JSON and errors in OpenAI's shape, each with one sentence for its user; describe the routes."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from math import ceil
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from reviewlm.core.errors import nearest
from reviewlm.models.base import ModelError
from reviewlm.models.options import explain
from reviewlm.serving.engine.requests import Busy, StreamEnded
from reviewlm.serving.engine.waiting_times import LONGEST
from reviewlm.serving.versions.open_version import OpenVersion, UnknownVersion, UnusableVersion

_ids = random.Random()
SHOWN = 80
"""Characters of a refused value that a message repeats."""
REFUSED = "refused_value"
"""Type of pydantic's error for a check of ours, whose message is a whole sentence."""
OF_PARAMETER = re.compile(r"(\w+) (?:is|only)\b")
"""Beginning of a model's message about one option, such as "top_k is 0; it must be …"; others are about none."""
IN_JSON = {"'none' to do without": "null", "a section of options": "an object"}
"""Words of messages about presets, and what they are called in JSON."""
RETRY_AFTER = "Retry-After"
THEIRS = {
    "max_completion_tokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "num_return_sequences": "n",
    "num_beams": "beam",
    "repeat_penalty": "repetition_penalty",
    "stop_sequences": "stop",
    "messages": "prompt",
    "text": "texts",
}
"""Names of parameters in OpenAI's chats and in other servers, and ours for the same."""
KINDS = {429: "rate_limit_error", 504: "timeout_error"}
LINE_BREAKS = {
    "\x85".encode(): rb"\u0085",
    "\u2028".encode(): rb"\u2028",
    "\u2029".encode(): rb"\u2029",
}
"""Line breaks that JSON does not escape, and how they are escaped in it."""
JSON = "application/json"
TEXT = {"type": "string"}
ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": TEXT,
                "type": TEXT,
                "code": TEXT,
                "param": {"type": ["string", "null"]},
            },
        }
    },
}
KNOWN: tuple[type[Exception], ...] = (
    UnknownVersion,
    UnusableVersion,
    Busy,
    ModelError,
    StreamEnded,
    TimeoutError,
)
"""Exceptions beside `ApiError` that `as_api_error` understands."""
ERRORS = {
    400: "A parameter is unknown or has a value that is not allowed.",
    401: "The access token is missing or unknown.",
    403: "The request comes from another web page, or for another host.",
    404: "There is no such model.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "The queue is full, or the token's rate is used up; Retry-After says when to try again.",
    503: "The version cannot be served, or the server is shutting down.",
    504: "The answer took longer than the server allows.",
}


class DirectRoute(APIRoute):
    """A route whose function takes nothing but the request: FastAPI describes it, and checks nothing for it.

    The functions read and check bodies themselves (`work.read_body`); FastAPI's own steps cost a tenth of a request.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function itself."""
        return self.endpoint  # type: ignore[no-any-return]


class ApiError(Exception):
    """A request that is not answered.

    Args:
        status: HTTP status.
        message: What is wrong and, where it helps, what to do.
        code: Short name of the reason, for programs.
        param: The parameter that is at fault, if one is.
        headers: Further headers, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = headers or {}

    def body(self) -> bytes:
        """Return the body of the answer."""
        usual = "server_error" if self.status >= 500 else "invalid_request_error"
        error = {
            "message": self.message,
            "type": KINDS.get(self.status, usual),
            "param": self.param,
            "code": self.code,
        }
        return orjson.dumps({"error": error})


def as_api_error(error: BaseException) -> ApiError | None:
    """Return the answer to a request that failed by an exception of models, engine or versions; None: a defect."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, UnknownVersion):
        return ApiError(404, str(error), "model_not_found", "model")
    if isinstance(error, UnusableVersion):
        return ApiError(
            503,
            str(error),
            "model_not_served",
            "model",
            _after(error.retry_after),
        )
    if isinstance(error, Busy):
        return busy(error.retry_after)
    if isinstance(error, ModelError) and error.kind == "input":
        match = OF_PARAMETER.match(str(error))
        parameter = match[1] if match else None
        return ApiError(400, str(error), "invalid_value", parameter)

    reason = error.reason if isinstance(error, StreamEnded) else ""
    if reason == "deadline" or isinstance(error, TimeoutError):
        return ApiError(504, "the answer took longer than this server allows", "deadline_exceeded")
    if reason == "closed":
        return ApiError(
            503,
            "the server is shutting down",
            "shutting_down",
            None,
            _after(5),
        )
    if reason == "slow reader":
        return ApiError(408, "the answer was not read fast enough", "slow_reader")

    return None


def defect() -> ApiError:
    """Return the error for an unexpected exception; the traceback is in the log only."""
    return ApiError(
        500, "the server failed to answer; the request's id is in its log", "internal_error"
    )


def busy(seconds: float) -> ApiError:
    """Return the error for a full queue that takes so many seconds; clients are sent away for `LONGEST` at most."""
    headers = _after(min(seconds, LONGEST))
    full = "its queue is full"
    if seconds > LONGEST:
        full = f"its queue is full for about {ceil(seconds)} s"

    message = f"the server is busy and {full}; try again in {headers[RETRY_AFTER]} s"
    return ApiError(
        429,
        message,
        "server_busy",
        None,
        headers,
    )


def _after(seconds: float) -> dict[str, str]:
    return {RETRY_AFTER: str(max(1, ceil(seconds)))}


def invalid(schema: type[BaseModel], errors: list[Any]) -> ApiError:
    """Return the error for a body that does not fit its schema, from pydantic's errors."""
    first = min(errors, key=lambda error: error["type"] != "extra_forbidden")
    if not first["loc"]:
        if first["type"] != REFUSED:
            return ApiError(400, "the body must be a JSON object", "invalid_body")
        # A refusal of parameters that do not go together begins with the name of one of them.
        at_fault = first["msg"].partition(" ")[0]
        return ApiError(400, first["msg"], "invalid_value", at_fault)

    place = ".".join(map(str, first["loc"]))
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        message = (
            f"unknown parameter {show_value(place)}; {_known_parameters(schema, first['loc'])}"
        )
        return ApiError(400, message, "unknown_parameter", place[:SHOWN])
    if first["type"] == "missing":
        return ApiError(400, f"{place} is missing", "missing_parameter", place)
    if first["type"] == REFUSED:
        return ApiError(
            400, f"{place} is {show_value(first['input'])}; {first['msg']}", "invalid_value", name
        )

    message = explain(schema, first, show_value)
    for words, of_json in IN_JSON.items():
        message = message.replace(words, of_json)

    return ApiError(400, message, "invalid_value", name)


def _known_parameters(schema: type[BaseModel], place: Sequence[int | str]) -> str:
    """Return which parameter is meant, if one is like an unknown one, and which a request takes at its place.

    Args:
        schema: What the request holds.
        place: The unknown parameter, after those that it is within.
    """
    *within, unknown = place
    at_place: Any = schema
    for name in within:
        at_place = at_place.model_fields[name].annotation

    known = at_place.model_fields
    ours = THEIRS.get(str(unknown))
    meant = (
        f"here it is called {ours}; " if ours in known else nearest(str(unknown)[:SHOWN], [*known])
    )
    subject = ".".join(map(str, within)) or "this request"
    return f"{meant}{subject} takes {', '.join(known)}"


def show_value(value: Any) -> str:
    """Return a value of a request as a message repeats it: in JSON, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    if len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}…"


def as_event(body: bytes) -> bytes:
    """Return a JSON text as a server-sent event; Unicode's own line breaks are escaped, for some clients end a line there."""
    for line_break, escaped in LINE_BREAKS.items():
        body = body.replace(line_break, escaped)
    return b"data: " + body + b"\n\n"


def as_json(values: Any, status: int = 200) -> Response:
    """Return an answer in JSON; numbers that are not finite become null."""
    body = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, media_type=JSON)


def new_id() -> str:
    """Return the id of a request or an answer: 96 random bits, in hexadecimal.

    `secrets` would call the system, which lets go of the interpreter: to get it back from the engine's thread takes
    longer than all else that an id needs.
    """
    return f"{_ids.getrandbits(96):024x}"


def new_head(version: OpenVersion) -> dict[str, Any]:
    """Return the first fields of a new completion: its id, time and model."""
    return {
        "id": f"cmpl-{new_id()}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": version.id,
        "system_fingerprint": version.fingerprint(),
    }


def describe_route(
    schema: type[BaseModel] | None,
    summary: str,
    example: Mapping[str, Any] | None = None,
    streamed: bool = False,
) -> dict[str, Any]:
    """Return the keyword arguments that describe a route: its parameters, and with which statuses it answers.

    What answers hold is in the docstrings of the routes and in docs/reference/json.md.

    Args:
        schema: What the body of a request holds; None: there is no body.
        summary: What the route is for, in one line.
        example: A body that any server answers that has such a model; without a body, the parameters of the address.
        streamed: Whether answers may be streams of events.
    """
    responses: dict[int | str, dict[str, Any]] = {200: {"description": "The answer."}}
    if streamed:
        data = {
            "type": "string",
            "description": "A JSON object; an error as everywhere; of the last event `[DONE]`.",
        }
        event = {
            "type": "object",
            "properties": {"data": data},
            "required": ["data"],
        }
        responses[200]["content"] = {"text/event-stream": {"schema": event}}

    error = {"content": {JSON: {"schema": ERROR}}}
    responses |= {status: {"description": why, **error} for status, why in ERRORS.items()}
    extra: dict[str, Any] = {}
    if schema is not None:
        body = {"schema": schema.model_json_schema(), "example": example}
        extra["requestBody"] = {"required": True, "content": {JSON: body}}
    elif example is not None:
        extra["x-example"] = example

    return {
        "summary": summary,
        "openapi_extra": extra,
        "response_model": None,
        "responses": responses,
    }
