"""Answer `POST /suggest` and `/intervals`: words to write next, and characters for writing with one pointer."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import APIRouter, Request, Response

from reviewlm.models.completion.dasher import DasherInterval, Inside, interval_steps
from reviewlm.models.completion.reading import Steps
from reviewlm.models.completion.spellings import EXACT, QUICK
from reviewlm.models.completion.suggestions import Suggestions, suggestion_steps
from reviewlm.serving.api.answers import DirectRoute, as_json, describe_route
from reviewlm.serving.api.request_schemas import IntervalsRequest, SuggestRequest
from reviewlm.serving.api.work import Services, how_read, read_body, while_connected
from reviewlm.serving.engine.jobs import EngineContext, Search
from reviewlm.serving.versions.open_version import OpenVersion

Asked = TypeVar("Asked", SuggestRequest, IntervalsRequest)
router = APIRouter(route_class=DirectRoute)


@router.post(
    "/suggest",
    **describe_route(
        SuggestRequest,
        "Suggest the next words, or complete the word being typed.",
        {"prompt": "the food was gre", "k": 3},
    ),
)
async def suggest(request: Request) -> Response:
    """Return words with their probabilities, and the remaining probability (`rest`).

    `typed`: characters at the end of the prompt that an accepted word replaces; `space`: what to write before it;
    `finished`: probability that the word at the end of the prompt is finished; `otherwise`: the same for the other
    reading of the prompt's end; `ratings`: those with which it was read.
    """

    async def find(
        services: Services,
        version: OpenVersion,
        query: SuggestRequest,
    ) -> dict[str, Any]:
        cutoffs = EXACT if query.exact else QUICK

        def begin(context: EngineContext) -> Steps[Suggestions]:
            return suggestion_steps(
                context.bundle,
                query.prompt,
                query.k,
                query.stars,
                query.both,
                context.readers,
                cutoffs,
            )

        suggestions = await services.run(version, Search(begin))
        return suggestions.as_json()

    return await _after_the_prompt(request, SuggestRequest, find)


@router.post(
    "/intervals",
    **describe_route(
        IntervalsRequest,
        "Divide an interval among the next characters (Dasher).",
        {"prompt": "the food was gre"},
    ),
)
async def intervals(request: Request) -> Response:
    """Return the characters that may come next with their probabilities, which sum to 1; likely ones divided again.

    Each of the `intervals` has `kind` ("character", "other": beyond ASCII, "end": of the review), `symbol`,
    `probability`, `children`, and of "other" `begun`: the first bytes of its characters (UTF-8, in hexadecimal).
    """

    async def find(
        services: Services,
        version: OpenVersion,
        query: IntervalsRequest,
    ) -> dict[str, Any]:
        found: dict[tuple[str, Inside], list[DasherInterval]] = {}

        def begin(context: EngineContext) -> Steps[list[DasherInterval]]:
            return interval_steps(
                context.bundle,
                query.prompt,
                query.stars,
                query.other,
                query.smallest,
                context.readers,
                found,
                query.begun,
            )

        return {"intervals": await services.run(version, Search(begin))}

    return await _after_the_prompt(request, IntervalsRequest, find)


async def _after_the_prompt(
    request: Request,
    schema: type[Asked],
    find: Callable[[Services, OpenVersion, Asked], Coroutine[Any, Any, dict[str, Any]]],
) -> Response:
    """Answer what can be said about the continuation of a prompt, found in the engine's thread."""
    services, query = Services.of(request), await read_body(request, schema)
    services.require_length("prompt", [query.prompt])

    async def answer() -> Response:
        async with services.lease(request, query.model) as version:
            words = await find(services, version, query)
            read = await how_read(version, [query.prompt], query.stars)
        return as_json(
            {
                "model": version.id,
                **words,
                **read,
            }
        )

    return await while_connected(request, services.seconds_left(request), answer())
