"""Answer `POST /score`: how probable whole reviews are, equal to the offline evaluation."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from models.bundles.score_sums import sum_of_scores
from serving.api.answers import as_json, described
from serving.api.errors import ApiError
from serving.api.schemas.requests import ScoreRequest
from serving.api.schemas.responses import ScoreAnswer
from serving.api.work import Services, how_read, read_body, require_number, while_connected
from serving.scoring import Scoring

router = APIRouter()


@router.post("/score", **described(ScoreRequest, "Score whole reviews, in open bits per byte first.", ScoreAnswer))
async def score(request: Request) -> Response:
    """Return the totals of all texts, and the scores of each with its tokens."""
    services, asked = Services.of(request), await read_body(request, ScoreRequest)
    require_number(services, asked.texts)
    services.require_length("texts", asked.texts)
    _require_few_alternatives(services, asked)
    return await while_connected(request, services.seconds_left(request), _scored(request, services, asked))


def _require_few_alternatives(services: Services, asked: ScoreRequest) -> None:
    """Refuse more alternatives than this server allows, and those of so many texts that the answer would be huge."""
    settings = services.settings
    if asked.alternatives > settings.max_logprobs:
        message = f"alternatives is {asked.alternatives:,}; this server allows at most {settings.max_logprobs:,}"
        raise ApiError(400, message, "too_many", "alternatives")
    if asked.alternatives and (size := sum(map(len, asked.texts))) > (limit := settings.max_prompt_characters):
        message = f"texts has {size:,} characters in all; with alternatives it must have at most {limit:,}"
        raise ApiError(400, message, "too_long", "texts")


async def _scored(request: Request, services: Services, asked: ScoreRequest) -> Response:
    async with services.leased(request, asked.model) as version:
        scoring = Scoring(asked.texts, asked.stars, asked.attribution, asked.alternatives)
        while await services.run(version, scoring.advance):
            pass
        read = await how_read(version, asked.texts, asked.stars)
    if asked.attribution and scoring.scored[0].attribution is None:
        read["warnings"].append(f"{version.id} is no mixture: it has no parts, so there is no attribution.")
    sums: dict[str, Any] = sum_of_scores([one.score for one in scoring.scored])
    for each, one in zip(sums["scores"], scoring.scored, strict=True):
        if asked.attribution:
            each["attribution"] = one.attribution
    if asked.alternatives:
        for each, told in zip(sums["scores"], scoring.alternatives, strict=True):
            each["alternatives"] = told
    return as_json({"model": version.id, **sums, **read})
