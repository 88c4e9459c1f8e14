"""Let a network learn from the text that it is measured on, after each part was scored: dynamic evaluation.

A text is one stream, read in segments: one token that was read, and the n that follow. All n are predicted with the
weights W as they are. Then the gradient g of their mean nats changes W, and a decay pulls it back to the static weights
W_s, with the rate η and the decay λ:

    sgd    W  ←  W − η g            +  λ (W_s − W)                                                               (1)
    rms    W  ←  W − η g / (r + ε)  +  min(1, λ r / mean(r)) (W_s − W)                                           (2)

r is the root mean square of each weight's gradient on training text, over minibatches of 100 segments side by side. A
weight with large gradients there takes smaller steps and returns faster. No token's probability depends on itself or on
later tokens, so the figures are perplexities; but they compare only with those of other models that learn while they
are measured, on one stream whose state is carried from document to document.

B. Krause, E. Kahembwe, I. Murray and S. Renals (2018), "Dynamic evaluation of neural sequence models"; T. Mikolov et
al. (2010), "Recurrent neural network based language model", whose network already learns while it is tested.

    python -m reviewlm.course.context.dynamic_evaluation         # an LSTM of one grammar reads reviews of one star alone
    python -m reviewlm.course.context.dynamic_evaluation --model BUNDLE --text reviews.txt

Rate and decay are chosen on the first third of the stream, and all figures are of the rest.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import product
from math import exp
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reviewlm.course.inputs import (
    learnt_and_held_out,
    networks,
    open_models,
    program,
    review_table,
    show,
    stream_of,
)
from reviewlm.models.neural.network import Network, detach
from reviewlm.models.neural.output import CONTEXT_IDS, NOT_SCORED

Weights = Sequence[Tensor]
SEGMENT = 20
LANES = 100
EPSILON = 1e-3
RATES = {
    "static": (0.0,),
    "sgd": (0.01, 0.03, 0.1, 0.3),
    "rms": (0.0002, 0.0005, 0.001, 0.002),
}
DECAYS = (0.0, 0.02)


def dynamic_nats(
    static: Network,
    ids_T: np.ndarray,
    rate: float,
    decay: float,
    rms: Weights | None = None,
    segment: int = SEGMENT,
) -> tuple[float, int]:
    """Return −Σ log p of a stream in nats, and the number of tokens that were predicted.

    Args:
        static: W_s; never changed. A rate of 0 measures it.
        ids_T: The stream; its first token is given.
        rate: η.
        decay: λ.
        rms: r of each parameter for rule (2); None: rule (1).
        segment: n.
    """
    network = copy.deepcopy(static).eval()
    weights = list(network.parameters())
    fixed = [weight.detach() for weight in static.parameters()]
    ids = torch.from_numpy(np.asarray(ids_T, np.int64))
    state = network.start(1, "cpu")
    nats = 0.0
    tokens = 0
    for begin in range(0, len(ids) - 1, segment):
        inputs = ids[begin : begin + segment]
        targets = _targets(ids[begin + 1 : begin + segment + 1])
        features_1TE, state = network(inputs[None, : len(targets)], detach(state))
        loss, count = network.output.loss(features_1TE[0], targets)
        nats += float(loss.detach())
        tokens += count
        if rate and len(targets) == segment:
            zeros = [torch.zeros_like(weight) for weight in weights]
            update(
                weights,
                fixed,
                torch.autograd.grad(loss / segment, weights) if count else zeros,
                rate,
                decay,
                rms,
            )

    return nats, tokens


@torch.no_grad()
def update(
    weights: Weights,
    static: Weights,
    gradients: Weights,
    rate: float,
    decay: float,
    rms: Weights | None,
) -> None:
    """Change the weights in place by rule (1), or by rule (2) with the root mean squares *rms*."""
    if rms is None:
        for W, W_s, g in zip(weights, static, gradients, strict=True):
            W += decay * (W_s - W) - rate * g
        return
    mean = sum(float(r.sum()) for r in rms) / sum(r.numel() for r in rms)
    for W, W_s, g, r in zip(
        weights,
        static,
        gradients,
        rms,
        strict=True,
    ):
        W += (decay * r / mean).clamp(max=1) * (W_s - W) - rate * g / (r + EPSILON)


def root_mean_squares(
    static: Network,
    ids_T: np.ndarray,
    segment: int = SEGMENT,
) -> list[Tensor]:
    """Return r of each parameter on a training text, read in up to `LANES` lanes whose state is carried."""
    network = copy.deepcopy(static).eval()
    lanes = max(1, min(LANES, (len(ids_T) - 1) // segment))
    length = (len(ids_T) - 1) // lanes // segment * segment
    starts_B1 = np.arange(lanes)[:, None] * length
    ids_BL = torch.from_numpy(np.asarray(ids_T, np.int64)[starts_B1 + np.arange(length + 1)])
    squares = [torch.zeros_like(weight) for weight in network.parameters()]
    state = network.start(lanes, "cpu")
    for begin in range(0, length, segment):
        features_BTE, state = network(ids_BL[:, begin : begin + segment], detach(state))
        targets = _targets(ids_BL[:, begin + 1 : begin + segment + 1]).flatten()
        loss, _ = network.output.loss(features_BTE.flatten(0, 1), targets)
        gradients = torch.autograd.grad(loss / len(targets), list(network.parameters()))
        for square, g in zip(squares, gradients, strict=True):
            square += g**2 / (length // segment)

    return [square.sqrt() for square in squares]


def _targets(ids: Tensor) -> Tensor:
    return ids.masked_fill(torch.isin(ids, torch.tensor(CONTEXT_IDS)), NOT_SCORED)


def choose_rate(
    network: Network,
    ids_T: np.ndarray,
    rule: str,
    rms: Weights | None,
) -> tuple[float, float]:
    """Return the rate and the decay with which a text is most probable."""
    pairs = product(RATES[rule], DECAYS if RATES[rule][0] else (0.0,))
    return min(
        pairs,
        key=lambda pair: dynamic_nats(
            network,
            ids_T,
            pair[0],
            pair[1],
            rms,
        )[0],
    )


def main() -> None:
    """Compare the static network with both rules on one stream."""
    options = program(__doc__, models=True, reviews=600).parse_args()
    bundles, data = open_models(options)
    if options.text is None or options.model:
        table = review_table(options.text, 2 * options.reviews, options.seed + 1)
    else:
        _, table = learnt_and_held_out(options)

    rows: list[dict[str, Any]] = []
    for name, bundle in bundles.items():
        ids = np.asarray(
            stream_of(bundle.vocabulary, table.filter(stars=1 if options.text is None else 0)).ids
        )
        choose = ids[: len(ids) // 3]
        measure = ids[len(ids) // 3 :]
        for inner, _, network in networks(name, bundle.spec, bundle.model):
            rms = root_mean_squares(network, np.asarray(data.train.ids) if data else choose)
            for rule in RATES:
                statistics = rms if rule == "rms" else None
                rate, decay = choose_rate(network, choose, rule, statistics)
                nats, tokens = dynamic_nats(
                    network,
                    measure,
                    rate,
                    decay,
                    statistics,
                )
                figures = {
                    "rate": rate,
                    "decay": decay,
                    "tokens": tokens,
                    "perplexity": exp(nats / tokens),
                }
                rows.append(
                    {
                        "network": inner,
                        "rule": rule,
                        **figures,
                    }
                )

    show(rows)


if __name__ == "__main__":
    main()
