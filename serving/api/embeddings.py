"""Answer `POST /v1/embeddings` in OpenAI's shape: a vector for each text."""

from __future__ import annotations

import base64

import numpy as np
from fastapi import APIRouter, Request, Response

from models.neural.encoder import network_in
from serving.api.answers import as_json, described
from serving.api.errors import ApiError
from serving.api.schemas.requests import EmbeddingRequest
from serving.api.schemas.responses import EmbeddingAnswer
from serving.api.work import Services, read_body, require_number, warnings_of, while_connected
from serving.encoding import Encoding
from serving.versions.open_version import OpenVersion

router = APIRouter()


@router.post("/v1/embeddings", **described(EmbeddingRequest, "Encode texts as vectors.", EmbeddingAnswer))
async def embeddings(request: Request) -> Response:
    """Return the vector of each text; the model must be a network, or a mixture with one."""
    services, asked = Services.of(request), await read_body(request, EmbeddingRequest)
    require_number(services, asked.input, "input")
    services.require_length("input", asked.input)
    return await while_connected(request, services.seconds_left(request), _encoded(request, services, asked))


async def _encoded(request: Request, services: Services, asked: EmbeddingRequest) -> Response:
    async with services.leased(request, asked.model) as version:
        _require_network(version)
        encoding = Encoding(asked.input)
        while await services.run(version, encoding.advance):
            pass
        warnings = await warnings_of(version, asked.input, None)
    found = map(_base64, encoding.vectors) if asked.encoding_format == "base64" else encoding.vectors
    data = [{"object": "embedding", "index": row, "embedding": vector} for row, vector in enumerate(found)]
    usage = {"prompt_tokens": encoding.tokens, "total_tokens": encoding.tokens}
    told = {"model": version.id, "bundle": version.bundle.digest, "usage": usage, "warnings": warnings}
    return as_json({"object": "list", "data": data, **told})


def _require_network(version: OpenVersion) -> None:
    if network_in(version.bundle.model) is None:
        kind = version.bundle.spec.kind
        message = f"{version.id} is of kind '{kind}' and has no network, so texts have no vectors; name a neural model"
        raise ApiError(400, message, "no_network", "model")


def _base64(vector_F: np.ndarray) -> str:
    """Return a vector as OpenAI's base64: float32, little-endian."""
    return base64.b64encode(vector_F.astype("<f4").tobytes()).decode("ascii")
