"""Answer `POST /suggest`: the next words."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from models.suggestions import suggest as next_words
from serving.api.answers import as_json, described
from serving.api.schemas import SuggestRequest
from serving.api.work import Services, read_body, warnings_of, while_connected

router = APIRouter()


@router.post("/suggest", **described(SuggestRequest, "Suggest the next words."))
async def suggest(request: Request) -> Response:
    """Return words with their probabilities, and the remaining probability."""
    services, asked = Services.of(request), await read_body(request, SuggestRequest)
    services.require_length("prompt", [asked.prompt])
    return await while_connected(request, services.seconds_left(request), _suggested(request, services, asked))


async def _suggested(request: Request, services: Services, asked: SuggestRequest) -> Response:
    async with services.leased(request, asked.model) as version:
        found = await services.run(
            version, lambda context: next_words(context.bundle, asked.prompt, asked.k, asked.stars)
        )
        warnings = warnings_of(version, [asked.prompt], asked.stars)
    words = [{"word": word, "probability": probability} for word, probability in found.words]
    return as_json({"model": version.id, "words": words, "rest": found.rest, "warnings": warnings})
