"""Answer `POST /v1/embeddings` in OpenAI's shape: a vector for each text."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.completion.reading import Steps
from reviewlm.models.neural.encoder import Encoder, network_in
from reviewlm.models.tokens.vocabulary import batch_texts
from reviewlm.serving.api.answers import ApiError, DirectRoute, as_json, describe_route
from reviewlm.serving.api.request_schemas import EmbeddingRequest
from reviewlm.serving.api.work import (
    CHARACTERS,
    SLICE,
    Services,
    read_body,
    warnings_of,
    while_connected,
)
from reviewlm.serving.engine.jobs import Search
from reviewlm.serving.versions.open_version import OpenVersion

router = APIRouter(route_class=DirectRoute)


@router.post(
    "/v1/embeddings",
    **describe_route(
        EmbeddingRequest, "Encode texts as vectors.", {"input": ["Great tacos!", "Cold soup."]}
    ),
)
async def embeddings(request: Request) -> Response:
    """Return the vector of each text; the model must be a network, or a mixture with one.

    Beside OpenAI's fields, `bundle` is the digest of the version: vectors of two versions cannot be compared.
    """
    services, query = Services.of(request), await read_body(request, EmbeddingRequest)
    services.require_length("input", query.input)
    return await while_connected(
        request, services.seconds_left(request), _encode(request, services, query)
    )


async def _encode(
    request: Request,
    services: Services,
    query: EmbeddingRequest,
) -> Response:
    async with services.lease(request, query.model) as version:
        _require_network(version)
        search = Search(lambda context: encode_steps(context.bundle, query.input))
        vectors, tokens = await services.run(version, search)
        warnings = await warnings_of(version, query.input, None)

    data: list[dict[str, Any]] = []
    for row, vector_F in enumerate(vectors):
        values = _base64(vector_F) if query.encoding_format == "base64" else vector_F
        data.append(
            {
                "object": "embedding",
                "index": row,
                "embedding": values,
            }
        )

    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    facts = {
        "model": version.id,
        "bundle": version.bundle.digest,
        "usage": usage,
        "warnings": warnings,
    }
    return as_json(
        {
            "object": "list",
            "data": data,
            **facts,
        }
    )


def _require_network(version: OpenVersion) -> None:
    if network_in(version.bundle.model) is None:
        kind = version.bundle.spec.kind
        message = f"{version.id} is of kind '{kind}' and has no network, so texts have no vectors; name a neural model"
        raise ApiError(400, message, "no_network", "model")


def _base64(vector_F: np.ndarray) -> str:
    """Return a vector as OpenAI's base64: float32, little-endian."""
    return base64.b64encode(vector_F.astype("<f4").tobytes()).decode("ascii")


def encode_steps(bundle: Bundle, texts: Sequence[str]) -> Steps[tuple[list[np.ndarray], int]]:
    """Encode texts slice by slice; return their vectors (float32) in order, and the number of their tokens.

    So decoding waits for one slice, or for one text's tokens, at most.

    Raises:
        ModelError: kind "input": the model has no network.
    """
    encoder = Encoder(bundle)
    ids: list[np.ndarray] = []
    for some in batch_texts(texts, characters=CHARACTERS):
        ids.extend(encoder.tokens(some))
        yield None

    vectors: dict[int, np.ndarray] = {}
    tokens = 0
    for step in encoder.read(ids, SLICE):
        vectors.update(zip(step.rows_B.tolist(), step.vectors_BF, strict=True))
        tokens += int(step.tokens_B.sum())
        yield None

    return [vectors[row] for row in range(len(texts))], tokens
