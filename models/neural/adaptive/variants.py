"""Provide the variants of a fitted neural model with their static model and the held-out text for tuning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from ...base import ModelError
from ...mixture.parts import Part
from ...mixture.tuning import NO_TOKEN, TuningBatch, batches
from ...tokens.vocabulary import CONTEXT_IDS

if TYPE_CHECKING:
    from ...streams import TokenStream
    from ..lm import NeuralLM

SHORTEST = 4_000
"""Least tokens of a lane, so that its beginning, where little is remembered, has little weight."""


def neural_model(part: Part, variant: str) -> NeuralLM:
    """Return the static model of a variant.

    Raises:
        ModelError: kind "input": it has no network whose features or weights the variant could use.
    """
    from ..lm import NeuralLM

    if not isinstance(part.model, NeuralLM):
        kind = getattr(part.spec, "kind", type(part.model).__name__)
        raise ModelError(f"{variant} needs a neural model; the part '{part.name}' is of kind '{kind}'", "input")
    return cast("NeuralLM", part.model)


def held_out(stream: TokenStream, limit: int, continuous: bool, lanes: int = 1) -> Iterator[TuningBatch]:
    """Yield about *limit* held-out tokens: whole reviews side by side, or the start of the text as continuous streams.

    Args:
        stream: Held-out text.
        limit: For continuous streams, most tokens, given ones included; for whole reviews, approximate number.
        continuous: Ignore the borders of documents.
        lanes: Continuous streams side by side, of equal length, none shorter than `SHORTEST`.

    Raises:
        ModelError: kind "input": there is no token to predict.
    """
    if not continuous:
        yield from batches(stream, limit)
        return
    ids = np.asarray(stream.ids[:limit], np.int64)
    count = max(1, min(lanes, len(ids) // SHORTEST))
    ids_BT = ids[: len(ids) // count * count].reshape(count, -1)
    scored_BT = ~np.isin(ids_BT, sorted(CONTEXT_IDS))
    if not scored_BT.any():
        raise ModelError(NO_TOKEN, "input")
    yield TuningBatch(ids_BT, scored_BT)
