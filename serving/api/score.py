"""Answer `POST /score`: how probable whole reviews are, equal to the offline evaluation.

Texts are scored in slices, so that decoding waits for one slice, or for one text's tokens, at most. Answer
`POST /classify`: a registered classifier's label of each review, and its probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Request, Response

from models.base import LanguageModel
from models.bundles.bundle import Bundle
from models.bundles.text_scores import TextScore, TextsToScore, sum_of_scores
from models.classification.bundle import Classified
from models.mixture.weights import Attribution
from models.tokens.vocabulary import Vocabulary, batched
from serving.api.answers import ApiError, as_json, described
from serving.api.request_schemas import ClassifyRequest, ScoreRequest
from serving.api.work import CHARACTERS, SLICE, Services, how_read, read_body, while_connected
from serving.engine.jobs import EngineContext, NotDone

router = APIRouter()


@router.post("/score", **described(ScoreRequest, "Score whole reviews, in open bits per byte first."))
async def score(request: Request) -> Response:
    """Return the totals of all texts, and the scores of each with its tokens.

    `open_bits_per_byte` counts the letters of unknown words: use it to compare. `per_token` has each token with its
    nats; `attribution` which part of a mixture predicted it (`contributions` sum to the log-probability), and
    `alternatives` what each token adds to the text (`written`) and which were the likeliest. A number that is not
    finite is null, such as the nats of a token that a model holds impossible.
    """
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


@router.post("/classify", **described(ClassifyRequest, "Classify whole reviews: a label, and its probability."))
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


STEPPED = 32
"""Positions of a slice whose alternatives were asked for: the model makes a distribution for each."""


class ScoredText(NamedTuple):
    """A text's scores, and its tokens' attribution if that was asked for and the model has parts."""

    score: TextScore
    attribution: dict[str, Any] | None


@dataclass
class _Batch:
    """Texts of similar length, and what has been found out about their tokens so far."""

    rows: list[int]
    ids_BT: np.ndarray
    state: Any
    read: int
    nats: list[np.ndarray]
    parts: list[Attribution]
    stepped: Any
    likeliest: list[tuple[np.ndarray, np.ndarray]]


class Scoring:
    """The scores of some texts, computed slice by slice in the engine's thread.

    Args:
        texts: Whole reviews.
        stars: Their rating; None: unknown.
        attribution: Also say which part of a mixture predicted each token.
        alternatives: Also say which tokens were the likeliest at each token, this number of them.
    """

    def __init__(
        self, texts: Sequence[str], stars: int | None, attribution: bool = False, alternatives: int = 0
    ) -> None:
        self._texts, self._stars, self._attribution, self._alternatives = texts, stars, attribution, alternatives
        self._left = batched(texts, characters=CHARACTERS)
        self._model: LanguageModel
        self._to_read: TextsToScore | None = None
        self._waiting: list[list[int]] | None = None
        self._batch: _Batch | None = None
        self._found: dict[int, ScoredText] = {}
        self._told: dict[int, dict[str, Any]] = {}

    @property
    def scored(self) -> list[ScoredText]:
        """The scores, in the order of the texts, once the job is done."""
        return [self._found[row] for row in range(len(self._texts))]

    @property
    def alternatives(self) -> list[dict[str, Any]]:
        """What was expected at the tokens of each text, if that was asked for."""
        return [self._told[row] for row in range(len(self._texts))]

    @property
    def _positions(self) -> int:
        return STEPPED if self._alternatives else SLICE

    def __call__(self, context: EngineContext) -> None:
        """Score the next slice, as a job of the engine.

        Raises:
            NotDone: There is more to do.
        """
        texts = self._to_score(context.bundle)
        if len(texts) < len(self._texts):
            texts.add(next(self._left), self._stars)
            raise NotDone
        if self._waiting is None:
            self._waiting = texts.side_by_side(self._positions)
        batch = self._batch = self._batch or self._begun(texts)
        self._read(batch)
        if batch.read == batch.ids_BT.shape[1]:
            self._finish(context.bundle.vocabulary, texts, batch)
            self._batch = None
        if self._batch is not None or self._waiting:
            raise NotDone

    def _to_score(self, bundle: Bundle) -> TextsToScore:
        if self._to_read is None:
            self._model, prefix = bundle.reader(self._stars)
            self._to_read = TextsToScore(bundle.vocabulary, prefix)
        return self._to_read

    def _begun(self, texts: TextsToScore) -> _Batch:
        assert self._waiting
        rows = self._waiting.pop(0)
        start = self._model.start
        return _Batch(rows, texts.padded(rows), start(len(rows)), 0, [], [], start(len(rows)), [])

    def _read(self, batch: _Batch) -> None:
        width = max(1, self._positions // len(batch.rows))
        ids_BT = batch.ids_BT[:, batch.read : batch.read + width]
        if self._attribution and hasattr(self._model, "attribute"):
            parts, batch.state = self._model.attribute(ids_BT, batch.state)
            batch.parts.append(parts)
            batch.nats.append(parts.nats_BT)
        else:
            nats_BT, batch.state = self._model.score(ids_BT, batch.state)
            batch.nats.append(nats_BT)
        for ids_B in ids_BT.T if self._alternatives else ():
            logp_BV, batch.stepped = self._model.step(ids_B, batch.stepped)
            logp_BK, ids_BK = logp_BV.topk(min(self._alternatives, logp_BV.shape[1]))
            batch.likeliest.append((ids_BK.cpu().numpy(), -logp_BK.double().cpu().numpy()))
        batch.read += ids_BT.shape[1]

    def _finish(self, vocabulary: Vocabulary, texts: TextsToScore, batch: _Batch) -> None:
        nats_BT = np.concatenate(batch.nats, 1)
        for place, row in enumerate(batch.rows):
            places = texts.predicted(row)
            attribution = _attribution(batch.parts, place, places) if batch.parts else None
            self._found[row] = ScoredText(texts.score(row, nats_BT[place]), attribution)
            if self._alternatives:
                self._told[row] = _alternatives(vocabulary, batch, place, texts.ids(row), places)


def _attribution(parts: Sequence[Attribution], row: int, places: slice) -> dict[str, Any]:
    """Return one text's attribution as JSON values by token; contributions sum to log p."""

    def of(name: str) -> list[Any]:
        values: list[Any] = np.concatenate([getattr(one, name)[row] for one in parts])[places].tolist()
        return values

    columns = {"shares": "share_BTP", "weights": "weights_BTP", "contributions": "contribution_BTP"}
    return {"parts": list(parts[0].names)} | {name: of(column) for name, column in columns.items()}


def _alternatives(
    vocabulary: Vocabulary, batch: _Batch, row: int, ids_N: np.ndarray, places: slice
) -> dict[str, Any]:
    """Return as JSON values what each of a text's tokens adds to it, and the likeliest tokens with their nats."""
    write = vocabulary.writer()
    likeliest = batch.likeliest[places.start - 1 : places.stop - 1]  # what was read last predicts the next
    return {
        "written": [write(int(token)) for token in ids_N],
        "likeliest": [
            [(vocabulary.token(int(token)), float(nat)) for token, nat in zip(ids_BK[row], nats_BK[row], strict=True)]
            for ids_BK, nats_BK in likeliest
        ],
    }  # fmt: skip
