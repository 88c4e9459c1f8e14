"""Compare three ways to use the text before a review as context: reset, carry and sliding window.

    reset     every review is read from the fresh state; the only policy that the figures of a run follow
    carry     the reviews are one stream in their order; the state is carried from one to the next
    sliding   the same stream through a window of W tokens, moved by S: each window is read from the fresh state, and
              only its last S tokens are scored (in the first window all), so that each token is scored once and has at
              least W − S tokens before it, from its own review or from earlier ones

Figures of different policies cannot be compared: carry and sliding let a model read earlier reviews. The context of an
n-gram model never goes beyond the begin of a review, so it gives the same figure under all three policies if its order
is at most W − S + 1. Its figure can then be shown next to that of a network under any policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, inf
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import InputError, ReviewLMError
from evaluation.scoring.continuous import continuous_nats
from evaluation.scoring.score import TOKENS_PER_BATCH, score_stream
from models.tokens.vocabulary import CONTEXT_IDS

if TYPE_CHECKING:
    from models.base import LanguageModel
    from models.bundles.bundle import Bundle
    from models.streams import TokenStream

WINDOW, STRIDE = 128, 64
"""Window and stride of the policy "sliding", in tokens."""


@dataclass(frozen=True)
class PolicyFigure:
    """Figure of a model on a text under one policy.

    Args:
        policy: "reset", "carry" or "sliding", the latter with window and stride.
        tokens: Scored tokens, each once.
        nats: −Σ log p.
    """

    policy: str
    tokens: int
    nats: float

    @property
    def perplexity(self) -> float:
        """exp(nats per token)."""
        mean = self.nats / self.tokens
        return exp(mean) if mean < 700 else inf

    def to_dict(self) -> dict[str, Any]:
        """Return all fields under the names of the table."""
        return {"policy": self.policy, "perplexity": self.perplexity, "tokens": self.tokens, "nats": self.nats}


def state_policies(
    bundle: Bundle, stream: TokenStream, window: int = WINDOW, stride: int = STRIDE
) -> list[PolicyFigure]:
    """Return the figures of reset, carry and sliding, in this order, for the same tokens.

    Args:
        bundle: Model and vocabulary.
        stream: Reviews as tokens of that vocabulary.
        window: W.
        stride: S, below W.

    Raises:
        ModelError: kind "input": the stream was made with another vocabulary.
        InputError: The stride is not between 1 and the window, or there is no token to predict.
        ReviewLMError: A policy scored other tokens than those of the stream.
    """
    rows = score_stream(bundle, stream)
    carried = continuous_nats(bundle.model, stream)
    tokens, nats = sliding_nats(bundle.model, stream, window, stride)
    found = [
        PolicyFigure("reset", int(rows["tokens"].sum()), float(rows["nats"].sum())),
        PolicyFigure("carry", carried.tokens, carried.nats),
        PolicyFigure(f"sliding {window}/{stride}", tokens, nats),
    ]
    if wrong := [figure for figure in found if figure.tokens != stream.tokens]:
        raise ReviewLMError(
            "Not every token was scored once", where=wrong[0].policy,
            value=f"{wrong[0].tokens} scored, {stream.tokens} in the stream",
            cause="the stream's files do not belong together", remedy="run again with --rebuild tokens",
        )  # fmt: skip
    return found


def sliding_nats(model: LanguageModel, stream: TokenStream, window: int, stride: int) -> tuple[int, float]:
    """Return the number of scored tokens, and their nats, of a text that is read through a sliding window.

    Raises:
        InputError: The stride is not between 1 and the window.
    """
    if not 1 <= stride < window:
        raise InputError("The stride must be between 1 and the window", value=f"window {window}, stride {stride}")
    given, tokens, nats = sorted(CONTEXT_IDS), 0, 0.0
    for ids_BT, first in _windows(stream.ids, window, stride):
        nats_BT, _ = model.score(ids_BT, model.start(len(ids_BT)))
        tokens += int((~np.isin(ids_BT[:, first:], given)).sum())
        nats += float(nats_BT[:, first:].sum())
    return tokens, nats


def _windows(ids: np.ndarray, window: int, stride: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield windows side by side, each with the position from which its tokens are scored."""
    yield np.asarray(ids[:window], np.int64)[None], 0
    whole = max(0, (len(ids) - window) // stride)
    rows = max(1, TOKENS_PER_BATCH // window)
    for number in range(0, whole, rows):
        begin_B1 = stride * np.arange(number + 1, min(number + rows, whole) + 1)[:, None]
        yield np.asarray(ids[begin_B1 + np.arange(window)], np.int64), window - stride
    rest = stride * (whole + 1)
    if rest + window - stride < len(ids):
        yield np.asarray(ids[rest:], np.int64)[None], window - stride
