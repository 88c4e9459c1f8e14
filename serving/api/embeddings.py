"""Answer `POST /v1/embeddings` in OpenAI's shape: a vector for each text.

Encode texts in slices, so that decoding waits for one slice, or for one text's tokens, at most.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence

import numpy as np
from fastapi import APIRouter, Request, Response

from models.neural.encoder import EncodedTexts, Encoder, network_in
from models.tokens.vocabulary import batched
from serving.api.answers import ApiError, as_json, described
from serving.api.request_schemas import EmbeddingRequest
from serving.api.work import CHARACTERS, SLICE, Services, read_body, warnings_of, while_connected
from serving.engine.jobs import EngineContext, NotDone
from serving.versions.open_version import OpenVersion

router = APIRouter()


@router.post("/v1/embeddings", **described(EmbeddingRequest, "Encode texts as vectors."))
async def embeddings(request: Request) -> Response:
    """Return the vector of each text; the model must be a network, or a mixture with one.

    Beside OpenAI's fields, `bundle` is the digest of the version: vectors of two versions cannot be compared.
    """
    services, query = Services.of(request), await read_body(request, EmbeddingRequest)
    services.require_length("input", query.input)
    return await while_connected(request, services.seconds_left(request), _encoded(request, services, query))


async def _encoded(request: Request, services: Services, query: EmbeddingRequest) -> Response:
    async with services.leased(request, query.model) as version:
        _require_network(version)
        encoding = Encoding(query.input)
        await services.run(version, encoding)
        warnings = await warnings_of(version, query.input, None)
    vectors = map(_base64, encoding.vectors) if query.encoding_format == "base64" else encoding.vectors
    data = [{"object": "embedding", "index": row, "embedding": vector} for row, vector in enumerate(vectors)]
    usage = {"prompt_tokens": encoding.tokens, "total_tokens": encoding.tokens}
    facts = {"model": version.id, "bundle": version.bundle.digest, "usage": usage, "warnings": warnings}
    return as_json({"object": "list", "data": data, **facts})


def _require_network(version: OpenVersion) -> None:
    if network_in(version.bundle.model) is None:
        kind = version.bundle.spec.kind
        message = f"{version.id} is of kind '{kind}' and has no network, so texts have no vectors; name a neural model"
        raise ApiError(400, message, "no_network", "model")


def _base64(vector_F: np.ndarray) -> str:
    """Return a vector as OpenAI's base64: float32, little-endian."""
    return base64.b64encode(vector_F.astype("<f4").tobytes()).decode("ascii")


class Encoding:
    """The vectors of some texts, computed slice by slice in the engine's thread.

    Args:
        texts: The texts.

    Attributes:
        tokens: Tokens read so far.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts, self.tokens = texts, 0
        self._left = batched(texts, characters=CHARACTERS)
        self._ids: list[np.ndarray] = []
        self._steps: Iterator[EncodedTexts] | None = None
        self._found: dict[int, np.ndarray] = {}

    @property
    def vectors(self) -> list[np.ndarray]:
        """The vectors (float32), in the order of the texts, once the job is done."""
        return [self._found[row] for row in range(len(self._texts))]

    def __call__(self, context: EngineContext) -> None:
        """Encode the next slice, as a job of the engine.

        Raises:
            NotDone: There is more to do.
            ModelError: kind "input": the model has no network.
        """
        if self._steps is None:
            encoder = Encoder(context.bundle)
            if len(self._ids) < len(self._texts):
                self._ids.extend(encoder.tokens(next(self._left)))
                raise NotDone
            self._steps = encoder.read(self._ids, SLICE)
        if (step := next(self._steps, None)) is not None:
            self._found.update(zip(step.rows_B.tolist(), step.vectors_BF, strict=True))
            self.tokens += int(step.tokens_B.sum())
            raise NotDone
