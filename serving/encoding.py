"""Encode texts in slices, so that decoding waits for one slice, or for one text's tokens, at most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from models.neural.encoder import EncodedTexts, Encoder
from models.tokens.type_counts import batched
from serving.engine.jobs import Aside, EngineContext
from serving.scoring import CHARACTERS, SLICE


class Encoding:
    """The vectors of some texts, computed by repeated calls of `advance` in the engine's thread.

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
        """The vectors (float32), in the order of the texts, once `advance` has returned False."""
        return [self._found[row] for row in range(len(self._texts))]

    def advance(self, context: EngineContext) -> bool:
        """Encode the next slice; return whether there is more to do.

        Raises:
            ModelError: kind "input": the model has no network.
        """
        if self._steps is None:
            encoder = Encoder(context.bundle)
            if len(self._ids) < len(self._texts):
                raise Aside(lambda: self._ids.extend(encoder.tokens(next(self._left))))
            self._steps = encoder.read(self._ids, SLICE)
        if (step := next(self._steps, None)) is None:
            return False
        self._found.update(zip(step.rows_B.tolist(), step.vectors_BF, strict=True))
        self.tokens += int(step.tokens_B.sum())
        return True
