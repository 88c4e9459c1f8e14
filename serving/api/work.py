"""Run the work of a request with a time limit and a bounded number of jobs, and stop it when the client leaves."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar, cast

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from reviewlm.core.config.sections.execution import ServingConfig
from reviewlm.models.bundles.bundle import unseen_warnings
from reviewlm.models.tokens.vocabulary import batch_texts
from reviewlm.serving.api.answers import SHOWN, ApiError, invalid, show_value
from reviewlm.serving.metrics import Metrics
from reviewlm.serving.versions.open_version import OpenVersion
from reviewlm.serving.versions.versions import Versions

Result = TypeVar("Result")
Body = TypeVar("Body", bound=BaseModel)
JSON_BODY = "application/json"
UTF8 = re.compile(r"""charset=["']?utf-?8["']?\s*(;|$)""")
SLICE = 512
"""Positions of a slice, padding included."""
CHARACTERS = 4_096
"""Characters of the texts that are read together before other work gets its turn; a longer text is read alone."""


@dataclass
class Services:
    """Services that the routes use; `of` finds them."""

    versions: Versions
    settings: ServingConfig
    metrics: Metrics
    classifiers: Versions | None = None
    jobs: int = field(default=0)

    @classmethod
    def of(cls, request: Request) -> Services:
        """Return the services of the application that a request was sent to."""
        return cast(Services, request.app.state.services)

    def seconds_left(self, request: Request) -> float:
        """Return the seconds in which a request must be answered."""
        elapsed = perf_counter() - request.scope["started"]
        return max(0.001, self.settings.request_seconds - elapsed)

    @asynccontextmanager
    async def lease(
        self,
        request: Request,
        reference: str,
        versions: Versions | None = None,
    ) -> AsyncIterator[OpenVersion]:
        """Give the version that a request names, by default of the language model; it stays open within the block."""
        versions = versions or self.versions
        async with asyncio.timeout(self.seconds_left(request)):
            version = await versions.lease(reference)
        try:
            yield version
        finally:
            versions.release(version)

    async def run(
        self,
        version: OpenVersion,
        job: Callable[[Any], Result],
        in_order: bool = False,
    ) -> Result:
        """Run a job in a version's engine (see `Engine.run`); refuse it if too many wait."""
        if self.jobs > self.settings.max_waiting:
            raise version.engine.too_many_jobs()
        self.jobs += 1
        try:
            return await asyncio.wrap_future(version.engine.run(job, in_order))
        finally:
            self.jobs -= 1

    def require_length(self, name: str, texts: Sequence[str | Sequence[int]]) -> None:
        """Refuse a text that is too long, or a list of too many tokens: each may stand for a character."""
        limit = self.settings.max_prompt_characters
        longest = max(texts, key=len, default="")
        if len(longest) > limit:
            what = "characters" if isinstance(longest, str) else "tokens"
            message = f"{name} has {len(longest):,} {what}; it must have at most {limit:,}"
            raise ApiError(400, message, "too_long", name)


async def read_body(request: Request, schema: type[Body]) -> Body:
    """Return the body of a request, checked."""
    kind, _, parameters = request.headers.get("content-type", "").lower().partition(";")
    if kind.strip() != JSON_BODY or ("charset=" in parameters and not UTF8.search(parameters)):
        shown = f"{kind.strip()};{parameters}".strip("; ")[:80]
        raise ApiError(
            415,
            f"the Content-Type is {shown!r}; it must be {JSON_BODY}, in UTF-8",
            "wrong_content_type",
        )

    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise ApiError(
            415,
            f"the Content-Encoding is {coding[:80]!r}; send the body as it is",
            "wrong_content_encoding",
            headers={"Accept-Encoding": "identity"},
        )

    body = await request.body()
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        cause = str(error).replace(
            "str is not valid UTF-8: surrogates not allowed", "it is not valid UTF-8"
        )
        raise ApiError(400, f"the body is not valid JSON: {cause}", "invalid_json") from error

    repeated = repeated_key(body)
    if repeated is not None:
        message = f"{show_value(repeated)} stands twice in the body; which of its values is meant?"
        raise ApiError(400, message, "repeated_parameter", repeated[:SHOWN])

    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise invalid(schema, error.errors(include_url=False)) from error


def repeated_key(body: bytes) -> str | None:
    """Return a key that an object of a valid JSON text has twice; None if there is none.

    Readers of JSON take one of the two values without a word (RFC 8259 leaves it open), so a client would not notice.
    """
    repeated: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            repeated.extend(key for key, count in counts.items() if count > 1)

    # Nested too deeply, or a number of thousands of digits: no parameter of ours, which is refused for that.
    with suppress(RecursionError, ValueError):
        json.loads(body, object_pairs_hook=note)
    return repeated[0] if repeated else None


async def while_connected(
    request: Request,
    seconds: float,
    work: Coroutine[Any, Any, Result],
) -> Result:
    """Return the result of *work*, which is cancelled when the client leaves or the time is over."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_left(request))
    try:
        async with asyncio.timeout(seconds):
            await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError(499, "the client left", "client_left")
        return task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def warnings_of(
    version: OpenVersion,
    texts: list[str],
    stars: int | None,
) -> list[str]:
    """Return warnings about a rating or a script that the version has never seen; other requests get their turns."""
    warnings: dict[str, None] = {}
    for some in batch_texts(texts, characters=CHARACTERS):
        warnings |= dict.fromkeys(unseen_warnings(version.bundle, "\n".join(some), stars))
        await asyncio.sleep(0)
    return list(warnings)


async def how_read(
    version: OpenVersion,
    texts: list[str],
    stars: int | None,
) -> dict[str, Any]:
    """Return the ratings with which texts were read, and the warnings, as JSON values."""
    return {
        "ratings": version.bundle.ratings(stars),
        "warnings": await warnings_of(version, texts, stars),
    }
