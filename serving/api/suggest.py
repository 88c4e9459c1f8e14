"""Answer `POST /suggest` and `/intervals`: words to write next, and characters for writing with one pointer."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from models.completion.dasher import intervals as divided
from models.completion.suggestions import suggest as likely_words
from serving.api.answers import as_json, described
from serving.api.schemas import IntervalsRequest, SuggestRequest
from serving.api.work import Services, how_read, read_body, while_connected

router = APIRouter()


@router.post("/suggest", **described(SuggestRequest, "Suggest the next words, or complete the word being typed."))
async def suggest(request: Request) -> Response:
    """Return words with their probabilities, and the remaining probability."""
    services, asked = Services.of(request), await read_body(request, SuggestRequest)
    services.require_length("prompt", [asked.prompt])
    return await while_connected(request, services.seconds_left(request), _suggested(request, services, asked))


async def _suggested(request: Request, services: Services, asked: SuggestRequest) -> Response:
    async with services.leased(request, asked.model) as version:
        found = await services.run(
            version,
            lambda context: likely_words(
                context.bundle, asked.prompt, asked.k, asked.stars, asked.both, context.read
            ),
        )
        read = how_read(version, [asked.prompt], asked.stars)
    return as_json({"model": version.id, **found.as_json(), **read})


@router.post("/intervals", **described(IntervalsRequest, "Divide an interval among the next characters (Dasher)."))
async def intervals(request: Request) -> Response:
    """Return the characters that may come next with their probabilities, which sum to 1; likely ones divided again."""
    services, asked = Services.of(request), await read_body(request, IntervalsRequest)
    services.require_length("prompt", [asked.prompt])
    return await while_connected(request, services.seconds_left(request), _divided(request, services, asked))


async def _divided(request: Request, services: Services, asked: IntervalsRequest) -> Response:
    async with services.leased(request, asked.model) as version:
        found = await services.run(
            version,
            lambda context: divided(
                context.bundle, asked.prompt, asked.stars, asked.other, asked.smallest, context.read
            ),
        )
        read = how_read(version, [asked.prompt], asked.stars)
    return as_json({"model": version.id, "intervals": found, **read})
