"""Answer `POST /score`: how probable whole reviews are, equal to the offline evaluation.

Answer `POST /classify`: a registered classifier's label of each review, and its probability.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from models.bundles.text_scores import sum_of_scores
from models.classification.bundle import Classified
from serving.api.answers import as_json, described
from serving.api.errors import ApiError
from serving.api.request_schemas import ClassifyRequest, ScoreRequest
from serving.api.response_schemas import ClassifyAnswer, ScoreAnswer
from serving.api.work import Services, how_read, read_body, while_connected
from serving.scoring import Scoring

router = APIRouter()


@router.post("/score", **described(ScoreRequest, "Score whole reviews, in open bits per byte first.", ScoreAnswer))
async def score(request: Request) -> Response:
    """Return the totals of all texts, and the scores of each with its tokens."""
    services, query = Services.of(request), await read_body(request, ScoreRequest)
    services.require_length("texts", query.texts)
    if query.alternatives and (size := sum(map(len, query.texts))) > (limit := services.settings.max_prompt_characters):
        message = f"texts has {size:,} characters in all; with alternatives it must have at most {limit:,}"
        raise ApiError(400, message, "too_long", "texts")
    return await while_connected(request, services.seconds_left(request), _scored(request, services, query))


async def _scored(request: Request, services: Services, query: ScoreRequest) -> Response:
    async with services.leased(request, query.model) as version:
        scoring = Scoring(query.texts, query.stars, query.attribution, query.alternatives)
        await services.run(version, scoring, in_order=True)
        read = await how_read(version, query.texts, query.stars)
    if query.attribution and scoring.scored[0].attribution is None:
        read["warnings"].append(f"{version.id} is no mixture: it has no parts, so there is no attribution.")
    sums: dict[str, Any] = sum_of_scores([one.score for one in scoring.scored])
    for each, one in zip(sums["scores"], scoring.scored, strict=True):
        if query.attribution:
            each["attribution"] = one.attribution
    if query.alternatives:
        for each, alternatives in zip(sums["scores"], scoring.alternatives, strict=True):
            each["alternatives"] = alternatives
    return as_json({"model": version.id, **sums, **read})


@router.post("/classify", **described(
    ClassifyRequest, "Classify whole reviews: a label, and its probability.", ClassifyAnswer
))  # fmt: skip
async def classify(request: Request) -> Response:
    """Return the label of each text, and the probability of every label if the classifier has them."""
    services, query = Services.of(request), await read_body(request, ClassifyRequest)
    services.require_length("texts", query.texts)
    return await while_connected(request, services.seconds_left(request), _answered(request, services, query))


async def _answered(request: Request, services: Services, query: ClassifyRequest) -> Response:
    if services.classifiers is None:
        raise ApiError(404, "this server has no classifier", "no_classifier")
    async with services.leased(request, query.model, services.classifiers) as version:
        bundle: Any = version.bundle
        classified: Classified = await services.run(version, lambda opened: opened.classify(query.texts))
        answers = [classified.answer(bundle.labels, row) for row in range(len(query.texts))]
    return as_json({"model": version.id, "labels": list(bundle.labels), "answers": answers})
