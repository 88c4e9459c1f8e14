"""Answer `POST /classify`: a registered classifier's label of each review, and its probability."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from models.classification.bundle import Classified
from serving.api.answers import as_json, described
from serving.api.errors import ApiError
from serving.api.schemas.requests import ClassifyRequest
from serving.api.schemas.responses import ClassifyAnswer
from serving.api.work import Services, read_body, require_number, while_connected

router = APIRouter()


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
