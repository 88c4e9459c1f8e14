"""Measure what int8 would lose: the rise of the perplexity of reviews that the model was not fitted on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from reviewlm.models.base import LanguageModel
from reviewlm.models.bundles.bundle import in_int8
from reviewlm.models.streams import TokenStream
from reviewlm.models.tokens.special import CONTEXT_IDS, EOS

REVIEWS = 64
"""Number of reviews on which the loss is measured."""
TOKENS = 64
"""Number of tokens of each review on which the loss is measured."""


def loss_of_int8(model: LanguageModel, stream: TokenStream) -> float | None:
    """Return by which share int8 raises the perplexity of reviews that the model was not fitted on.

    With `REVIEWS` reviews of `TOKENS` tokens it is known to some 0.03 %. None: the model has no form in int8.

    Args:
        model: The exact model, on the CPU.
        stream: The reviews; of the first ones, the first tokens are read.
    """
    quick = in_int8(model)
    if quick is None:
        return None

    reviews = [stream.document(row)[:TOKENS] for row in range(min(REVIEWS, len(stream)))]
    ids_BT = np.full((len(reviews), TOKENS), EOS, np.int64)
    scored_BT = np.zeros(ids_BT.shape, bool)
    for row, ids in enumerate(reviews):
        ids_BT[row, : len(ids)] = ids
        scored_BT[row, : len(ids)] = ~np.isin(ids, list(CONTEXT_IDS))

    exact_N, quick_N = (_nats(each, ids_BT, scored_BT) for each in (model, quick))
    possible_N = torch.isfinite(exact_N)  # a model may rule out a word
    rise_N = (quick_N - exact_N)[possible_N]
    if len(rise_N):
        return round(float(torch.expm1(rise_N.mean())), 6)
    return None


def _nats(
    model: LanguageModel,
    ids_BT: np.ndarray,
    scored_BT: np.ndarray,
) -> Tensor:
    """Return −log p of the scored tokens, by steps: by place, then by text."""
    state = model.start(len(ids_BT))
    nats = [torch.zeros(0, dtype=torch.float64)]
    for ids_B, next_B, scored_B in zip(ids_BT.T[:-1], ids_BT.T[1:], scored_BT.T[1:], strict=True):
        logp_BV, state = model.step(ids_B, state)
        rows_N = np.flatnonzero(scored_B)
        logp_NV = torch.log_softmax(logp_BV.double()[rows_N], 1)
        nats.append(-logp_NV[range(len(rows_N)), next_B[rows_N]])
    return torch.cat(nats)
