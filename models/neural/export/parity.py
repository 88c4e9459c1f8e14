"""Compare an exported graph with the model that it comes from, on texts that the model scores and writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, cast

import numpy as np
import torch

from ...base import LanguageModel, ModelError
from ...bundles.bundle import Bundle
from ...sampling import generate
from ...tokens.special import EOS
from .step_graph import ExportedLM

TOLERANCE = 1e-4
"""Most that a log-probability may differ, in nats."""
MOST_TOKENS = 120
"""Longest text that is written for the comparison."""


@dataclass(frozen=True)
class Parity:
    """Result of a comparison.

    Args:
        positions: Number of compared distributions, those after the end of a shorter text included.
        largest_difference: Largest absolute difference of two log-probabilities, in nats.
        greedy_texts: Number of texts that both wrote, taking the likeliest token each time; they are equal.
        probes: Streams of token ids, and the ids that the exported graph must find likeliest after each.
    """

    positions: int
    largest_difference: float
    greedy_texts: int
    probes: list[dict[str, list[int]]]


def compare(bundle: Bundle, exported: ExportedLM, probes: Sequence[tuple[str, int]]) -> Parity:
    """Compare all distributions over given texts and over texts that the model writes, and the texts written greedily.

    Args:
        bundle: The model and its vocabulary.
        exported: The graph.
        probes: Texts and star ratings.

    Raises:
        ModelError: kind "bundle": a log-probability differs by more than `TOLERANCE`, or a text is another one.
    """
    ratings = bundle.ratings(None)
    greedy = [(_greedy(bundle, stars), stars) for stars in ratings]
    drawn = [(generate(bundle, stars=stars, max_tokens=MOST_TOKENS, seed=1)[0], stars) for stars in ratings]
    streams = [
        [*bundle.vocabulary.prefix(stars), *bundle.vocabulary.encode(text).tolist()]
        for text, stars in [*probes, *greedy, *drawn]
    ]
    longest = max(map(len, streams))
    ids_BT = np.array([[*stream, *[EOS] * (longest - len(stream))] for stream in streams])
    largest, likeliest = 0.0, []
    for ours_BV, theirs_BV in zip(_distributions(bundle.model, ids_BT), _distributions(exported, ids_BT), strict=True):
        largest = max(largest, _difference(ours_BV, theirs_BV))
        likeliest.append(ours_BV.argmax(1).tolist())
    expected = [
        {"ids": stream, "likeliest": [row[place] for row in likeliest[: len(stream)]]}
        for place, stream in enumerate(streams[: len(probes)])
    ]
    if largest > TOLERANCE:
        raise ModelError(f"the exported graph's log-probabilities differ by up to {largest:.2g} nats; "
                         f"{TOLERANCE:g} is allowed", "bundle")  # fmt: skip
    copy = replace(bundle, model=cast(Any, exported))  # has what generation needs
    for text, stars in greedy:
        if (written := _greedy(copy, stars)) != text:
            raise ModelError(f"the exported graph writes another text for {stars} stars: {written!r}, not {text!r}",
                             "bundle")  # fmt: skip
    return Parity(ids_BT.size, largest, len(greedy), expected)


def _greedy(bundle: Bundle, stars: int) -> str:
    return generate(bundle, stars=stars, temperature=0.0, max_tokens=MOST_TOKENS)[0]


def _distributions(model: LanguageModel | ExportedLM, ids_BT: np.ndarray) -> Iterator[torch.Tensor]:
    state = model.start(len(ids_BT))
    for ids_B in ids_BT.T:
        logp_BV, state = model.step(ids_B, state)
        yield logp_BV


def _difference(one_BV: torch.Tensor, other_BV: torch.Tensor) -> float:
    """Return the largest difference; infinite if an entry is possible in one and not in the other, or is no number."""
    possible_BV = torch.isfinite(one_BV)
    if not torch.equal(possible_BV, torch.isfinite(other_BV)):
        return inf
    return float((one_BV[possible_BV] - other_BV[possible_BV]).abs().max())
