"""Answer `POST /score`: how probable whole reviews are, equal to the offline evaluation.

Answer `POST /classify`: a registered classifier's label of each review, and its probability.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from models.bundles.score_sums import sum_of_scores
from models.classification.bundle import Classified
from serving.api.answers import as_json, described
from serving.api.errors import ApiError
from serving.api.request_schemas import ClassifyRequest, ScoreRequest
from serving.api.response_schemas import ClassifyAnswer, ScoreAnswer
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


@router.post("/classify", **described(
    ClassifyRequest, "Classify whole reviews: a label, and its probability.", ClassifyAnswer
))  # fmt: skip
async def classify(request: Request) -> Response:
    """Return the label of each text, and the probability of every label if the classifier has them."""
    services, asked = Services.of(request), await read_body(request, ClassifyRequest)
    require_number(services, asked.texts)
    services.require_length("texts", asked.texts)
    return await while_connected(request, services.seconds_left(request), _answered(request, services, asked))


async def _answered(request: Request, services: Services, asked: ClassifyRequest) -> Response:
    if services.classifiers is None:
        raise ApiError(404, "this server has no classifier (serving.classify is false)", "no_classifier")
    async with services.leased(request, asked.model, services.classifiers) as version:
        bundle: Any = version.bundle
        found: Classified = await services.run(version, lambda opened: opened.classify(asked.texts))
        answers = [_answer(bundle.labels, found, row) for row in range(len(asked.texts))]
    return as_json({"model": version.id, "labels": list(bundle.labels), "answers": answers})


def _answer(labels: tuple[str, ...], found: Classified, row: int) -> dict[str, Any]:
    number = int(found.answers_N[row])
    answer: dict[str, Any] = {"label": labels[number]}
    if found.probabilities_NK is not None:
        chances = [float(chance) for chance in found.probabilities_NK[row]]
        answer |= {"probability": chances[number], "probabilities": dict(zip(labels, chances, strict=True))}
    return answer
