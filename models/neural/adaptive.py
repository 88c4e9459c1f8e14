"""What the variants of a fitted neural model share: the model itself, and the held-out text that they are tuned on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from ..base import ModelError
from ..mixture.parts import Part
from ..mixture.tuning import NO_TOKEN, Batch, batches
from ..vocabulary import GIVEN

if TYPE_CHECKING:
    from ..streams import TokenStream
    from .lm import NeuralLM


def neural_model(part: Part, variant: str) -> NeuralLM:
    """Return the static model of a variant.

    Raises:
        ModelError: kind "input": it has no network whose features or weights the variant could use.
    """
    from .lm import NeuralLM

    if not isinstance(part.model, NeuralLM):
        kind = getattr(part.spec, "kind", type(part.model).__name__)
        raise ModelError(f"{variant} needs a neural model; the part '{part.name}' is of kind '{kind}'", "input")
    return cast("NeuralLM", part.model)


def held_out(stream: TokenStream, limit: int, continuous: bool) -> Iterator[Batch]:
    """Yield about *limit* held-out tokens: whole reviews side by side, or the begin of the text as one stream.

    Raises:
        ModelError: kind "input": there is no token to predict.
    """
    if not continuous:
        yield from batches(stream, limit)
        return
    ids_1T = np.asarray(stream.ids[:limit], np.int64)[None]
    scored_1T = ~np.isin(ids_1T, sorted(GIVEN))
    if not scored_1T.any():
        raise ModelError(NO_TOKEN, "input")
    yield Batch(ids_1T, scored_1T)
