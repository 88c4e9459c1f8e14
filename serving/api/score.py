"""Answer `POST /score`: how probable whole reviews are, equal to the offline evaluation.

Texts are scored in slices, so that decoding waits for one slice, or for one text's tokens, at most. Short requests that
wait are scored side by side, in the order in which they came, which changes no number beyond rounding. Answer
`POST /classify`: a registered classifier's label of each review, and its probability.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any, NamedTuple

import numpy as np
from fastapi import APIRouter, Request, Response

from reviewlm.models.base import LanguageModel
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.bundles.text_scores import TextScore, TextsToScore, sum_of_scores
from reviewlm.models.classification.bundle import Classified, ClassifierBundle
from reviewlm.models.completion.reading import Steps
from reviewlm.models.mixture.weights import Attribution
from reviewlm.models.tokens.vocabulary import Vocabulary, batch_texts
from reviewlm.serving.api.answers import ApiError, DirectRoute, as_json, describe_route
from reviewlm.serving.api.request_schemas import ClassifyRequest, ScoreRequest
from reviewlm.serving.api.work import (
    CHARACTERS,
    SLICE,
    Services,
    how_read,
    read_body,
    while_connected,
)
from reviewlm.serving.engine.jobs import Search

router = APIRouter(route_class=DirectRoute)
TOGETHER = 16 * SLICE
"""Characters of the requests that are scored together: products are faster with the rows of more texts."""
WIDE = 4
"""Slices that texts side by side have at most: each slice has some tokens of all of them."""
STEPPED = 32
"""Positions of a slice whose alternatives were asked for: the model makes a distribution for each."""


@router.post(
    "/score",
    **describe_route(
        ScoreRequest,
        "Score whole reviews, in open bits per byte first.",
        {"texts": ["Great tacos!"]},
    ),
)
async def score(request: Request) -> Response:
    """Return the totals of all texts, and the scores of each with its tokens.

    `open_bits_per_byte` counts the letters of unknown words: use it to compare. `per_token` has each token with its
    nats; `attribution` which part of a mixture predicted it (`contributions` sum to the log-probability), and
    `alternatives` what each token adds to the text (`written`) and which were the likeliest. A number that is not
    finite is null, such as the nats of a token that a model holds impossible.
    """
    services, query = Services.of(request), await read_body(request, ScoreRequest)
    services.require_length("texts", query.texts)
    size = sum(map(len, query.texts))
    limit = services.settings.max_prompt_characters
    if query.alternatives and size > limit:
        message = f"texts has {size:,} characters in all; with alternatives it must have at most {limit:,}"
        raise ApiError(400, message, "too_long", "texts")

    return await while_connected(
        request, services.seconds_left(request), _score_texts(request, services, query)
    )


async def _score_texts(
    request: Request,
    services: Services,
    query: ScoreRequest,
) -> Response:
    async with services.lease(request, query.model) as version:
        mine = WaitingScore(query)
        version.scores.append(mine)
        try:
            search = Search(lambda context: mine.steps(context.bundle, version.scores))
            scored = await services.run(version, search, in_order=True)
        finally:
            version.scores.remove(mine)
        read = await how_read(version, query.texts, query.stars)

    if query.attribution and scored[0].attribution is None:
        read["warnings"].append(
            f"{version.id} is no mixture: it has no parts, so there is no attribution."
        )

    sums: dict[str, Any] = sum_of_scores([one.score for one in scored])
    for each, one in zip(sums["scores"], scored, strict=True):
        if query.attribution:
            each["attribution"] = one.attribution
        if query.alternatives:
            each["alternatives"] = one.alternatives

    return as_json(
        {
            "model": version.id,
            **sums,
            **read,
        }
    )


@router.post(
    "/classify",
    **describe_route(
        ClassifyRequest,
        "Classify whole reviews: a label, and its probability.",
        {"texts": ["Great tacos!"]},
    ),
)
async def classify(request: Request) -> Response:
    """Return the label of each text, the probability of every label, and the share of its words that the model knows.

    `warnings` name texts with hardly a known word, and scripts that the model has never seen.
    """
    services, query = Services.of(request), await read_body(request, ClassifyRequest)
    services.require_length("texts", query.texts)
    return await while_connected(
        request, services.seconds_left(request), _classify_texts(request, services, query)
    )


async def _classify_texts(
    request: Request,
    services: Services,
    query: ClassifyRequest,
) -> Response:
    if services.classifiers is None:
        raise ApiError(404, "this server has no classifier", "no_classifier")

    async with services.lease(request, query.model, services.classifiers) as version:
        bundle: Any = version.bundle
        names = [f"texts[{row}]" for row in range(len(query.texts))]

        def job(opened: ClassifierBundle) -> tuple[Classified, list[str]]:
            classified = opened.classify(query.texts)
            return classified, opened.warnings(query.texts, classified, names)

        classified, warnings = await services.run(version, job)
        answers = [classified.answer(bundle.labels, row) for row in range(len(query.texts))]

    labels = list(bundle.labels)
    return as_json(
        {
            "model": version.id,
            "labels": labels,
            "answers": answers,
            "warnings": warnings,
        }
    )


class ScoredText(NamedTuple):
    """A text's scores, and what was asked for beside them as JSON values.

    Args:
        score: The scores.
        attribution: Which part of a mixture predicted each token; None: not asked for, or the model has no parts.
        alternatives: What each token adds to the text, and the likeliest tokens there.
    """

    score: TextScore
    attribution: dict[str, Any] | None = None
    alternatives: dict[str, Any] | None = None


class _Read(NamedTuple):
    """Results about the tokens of some texts, slice by slice; `likeliest` token by token."""

    nats: list[np.ndarray]
    parts: list[Attribution]
    likeliest: list[tuple[np.ndarray, np.ndarray]]


@dataclass(eq=False)
class WaitingScore:
    """A request that waits for its scores; the first of some short ones is scored with the others.

    Args:
        query: The request.
        begun: Whether it was taken to be scored; where that failed, it is scored alone.
        scored: Its scores.
    """

    query: ScoreRequest
    begun: bool = False
    scored: list[ScoredText] | None = None

    def steps(self, bundle: Bundle, waiting: Sequence[WaitingScore]) -> Steps[list[ScoredText]]:
        """Score it slice by slice, unless it was scored with an earlier one; return its scores."""
        if self.scored is None:
            together = self._requests_to_score(waiting)
            texts: list[str] = []
            for request in together:
                request.begun = True
                texts += request.query.texts

            asked = self.query
            scored = yield from score_steps(
                bundle,
                texts,
                asked.stars,
                asked.attribution,
                asked.alternatives,
            )
            remaining = iter(scored)
            for request in together:
                request.scored = list(islice(remaining, len(request.query.texts)))

        return self.scored or []

    def _requests_to_score(self, waiting: Sequence[WaitingScore]) -> list[WaitingScore]:
        """Choose the requests of one rating to score in one batch, this one first, within `TOGETHER` characters."""
        if self.begun:
            return [self]

        alike = [self]
        for request in list(waiting):
            same_rating = request.query.stars == self.query.stars
            if same_rating and not request.begun and request is not self:
                alike.append(request)

        sizes = list(accumulate(request.size for request in alike))
        fit = bisect_right(sizes, TOGETHER)
        return alike[: max(1, fit)]

    @property
    def size(self) -> int:
        """Characters of its texts; more than are scored together where it asks for more than scores."""
        if self.query.attribution or self.query.alternatives:
            return TOGETHER + 1
        return sum(map(len, self.query.texts))


def score_steps(
    bundle: Bundle,
    texts: Sequence[str],
    stars: int | None,
    attribution: bool = False,
    alternatives: int = 0,
) -> Steps[list[ScoredText]]:
    """Score whole reviews, slice by slice, and return the scores in the order of the texts.

    Args:
        stars: Their rating; None: unknown.
        attribution: Also say which part of a mixture predicted each token.
        alternatives: Also say which tokens were the likeliest at each token, this number of them.
    """
    model, prefix = bundle.reader(stars)
    to_score = TextsToScore(bundle.vocabulary, prefix)
    positions = STEPPED if alternatives else SLICE
    wide = positions if alternatives else WIDE * SLICE
    for some in batch_texts(texts, characters=CHARACTERS):
        to_score.add(some, stars)
        yield None

    scored: dict[int, ScoredText] = {}
    for rows in to_score.side_by_side(wide):
        if scored:
            yield None
        width = max(1, positions // len(rows))
        read = yield from _read_steps(
            model,
            to_score.pad_tokens(rows),
            width,
            attribution,
            alternatives,
        )
        nats_BT = np.concatenate(read.nats, 1)
        for place, row in enumerate(rows):
            places = to_score.predicted_positions(row)
            text_score = to_score.score(row, nats_BT[place])
            parts = None
            likeliest = None
            if read.parts:
                parts = _attribution(read.parts, place, places)
            if alternatives:
                ids_N = to_score.ids(row)
                likeliest = _alternatives(
                    bundle.vocabulary,
                    read.likeliest,
                    place,
                    ids_N,
                    places,
                )
            scored[row] = ScoredText(text_score, parts, likeliest)

    return [scored[row] for row in range(len(texts))]


def _read_steps(
    model: LanguageModel,
    ids_BT: np.ndarray,
    width: int,
    attribution: bool,
    alternatives: int,
) -> Steps[_Read]:
    """Read texts of similar length side by side, *width* tokens of each at a time."""
    read = _Read([], [], [])
    state = model.start(len(ids_BT))
    stepped = model.start(len(ids_BT))
    for begin in range(0, ids_BT.shape[1], width):
        if begin:
            yield None
        some_BT = ids_BT[:, begin : begin + width]
        if attribution and hasattr(model, "attribute"):
            parts, state = model.attribute(some_BT, state)
            read.parts.append(parts)
            read.nats.append(parts.nats_BT)
        else:
            nats_BT, state = model.score(some_BT, state)
            read.nats.append(nats_BT)
        if not alternatives:
            continue
        for ids_B in some_BT.T:
            logp_BV, stepped = model.step(ids_B, stepped)
            logp_BK, ids_BK = logp_BV.topk(min(alternatives, logp_BV.shape[1]))
            read.likeliest.append((ids_BK.cpu().numpy(), -logp_BK.double().cpu().numpy()))

    return read


def _attribution(
    parts: Sequence[Attribution],
    row: int,
    places: slice,
) -> dict[str, Any]:
    """Return one text's attribution as JSON values by token; contributions sum to log p."""

    columns = {
        "shares": "share_BTP",
        "weights": "weights_BTP",
        "contributions": "contribution_BTP",
    }
    attribution: dict[str, Any] = {"parts": list(parts[0].names)}
    for name, column in columns.items():
        values = np.concatenate([getattr(part, column)[row] for part in parts])
        attribution[name] = values[places].tolist()

    return attribution


def _alternatives(
    vocabulary: Vocabulary,
    likeliest: Sequence[tuple[np.ndarray, np.ndarray]],
    row: int,
    ids_N: np.ndarray,
    places: slice,
) -> dict[str, Any]:
    """Return as JSON values what each of a text's tokens adds to it, and the likeliest tokens with their nats."""
    write = vocabulary.writer()
    predictions = likeliest[places.start - 1 : places.stop - 1]  # what was read predicts the next
    columns: list[list[tuple[str, float]]] = []
    for ids_BK, nats_BK in predictions:
        ids_K = ids_BK[row].tolist()
        nats_K = nats_BK[row].tolist()
        tokens = [vocabulary.token(token) for token in ids_K]
        columns.append(list(zip(tokens, nats_K, strict=True)))

    return {"written": [write(int(token)) for token in ids_N], "likeliest": columns}
