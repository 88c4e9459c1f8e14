"""Draw tokens by numbers that a key decides, and tell by them whether a text was drawn with the key.

Each token v that may follow a context (the last tokens) gets a number U(v), uniform in (0, 1), from a hash of key,
context and v. The token with the least −ln U(v) / p(v) is taken: that is v with probability p(v), so over all keys the
texts are as likely as without. But its U is large. In a text that does not depend on the key, each −ln (1 − U) is drawn
from the exponential distribution of mean 1, and their sum over n contexts from the gamma distribution: so z and p below
are exact. Each context counts once, in a text and in the sum; if it occurs again, the seed decides. It also decides one
token in eight, else texts with one key that have four tokens in common would go on alike to their end.
(S. Aaronson, "My AI safety lecture for UT effective altruism", 2022.)
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import log1p, sqrt
from typing import NamedTuple

import numpy as np
import torch

from ..base import ModelError
from ..text.given import given_text
from ..text.normal_form import require_unicode
from ..tokens.vocabulary import Vocabulary

CONTEXT = 4
"""Tokens before a token on which its number depends. The first tokens of a text are drawn by its seed."""
SEEDED = 1 / 8
"""Share of the later tokens that are drawn by the seed, too."""


class Watermark:
    """The key of one text while it is drawn.

    Args:
        key: Any text.
        given: Tokens of the prompt.
    """

    def __init__(self, key: str, given: int) -> None:
        self._key = hash_key(key)
        self._given = given
        self._seen: set[tuple[int, ...]] = set()

    def token(
        self,
        ids: Sequence[int],
        p_V: np.ndarray,
        uniform: float,
    ) -> int | None:
        """Return the next token after some; None after few tokens, or after a context that occurs again.

        Args:
            ids: Tokens of the text so far.
            p_V: Probabilities.
            uniform: The seed's number in [0, 1) for this token. Below `SEEDED`, it decides.
        """
        context = tuple(ids[-CONTEXT:])
        if len(ids) - self._given < CONTEXT or context in self._seen:
            return None

        self._seen.add(context)
        if uniform < SEEDED:
            ends_V = np.cumsum(p_V)
            return int(np.searchsorted(ends_V, uniform / SEEDED * ends_V[-1], side="right"))

        possible = np.flatnonzero(p_V > 0)
        return int(
            possible[np.argmin(-np.log(numbers(self._key, context, possible)) / p_V[possible])]
        )


class WatermarkEvidence(NamedTuple):
    """Evidence that a text carries the watermark of a key.

    Args:
        tokens: Tokens that count: each context once.
        z: The sum of −ln (1 − U), less its mean without a watermark, in standard deviations.
        p_value: Probability that a text without the watermark has as large a sum.
    """

    tokens: int
    z: float
    p_value: float


def evidence_of(
    vocabulary: Vocabulary,
    text: str,
    key: str,
) -> WatermarkEvidence:
    """Return the evidence of a text for a key; the vocabulary must be that of the model that wrote it.

    Raises:
        ModelError: kind "input": the key is empty or no text, or the text is none.
    """
    if not given_text(key, "key"):
        raise ModelError("key is empty; give the key that the text was drawn with", "input")

    clean = vocabulary.normal_form.apply(given_text(text, "text"))
    ids = vocabulary.encode(clean).tolist()
    digest = hash_key(key)
    total = 0.0
    seen: set[tuple[int, ...]] = set()
    for place in range(CONTEXT, len(ids)):
        context = tuple(ids[place - CONTEXT : place])
        if context not in seen:
            seen.add(context)
            total -= log1p(-float(numbers(digest, context, np.array(ids[place : place + 1]))[0]))

    count = len(seen)
    if not count:
        return WatermarkEvidence(0, 0.0, 1.0)

    sums = torch.tensor([count, total], dtype=torch.float64)
    return WatermarkEvidence(
        count, (total - count) / sqrt(count), float(torch.special.gammaincc(*sums))
    )


def hash_key(key: str) -> bytes:
    """Return the digest that stands for a key; see `require_unicode`."""
    require_unicode(given_text(key, "key"))
    return blake2b(key.encode(), digest_size=32).digest()


def numbers(
    key: bytes,
    context: Sequence[int],
    ids_N: np.ndarray,
) -> np.ndarray:
    """Return the numbers (N) of tokens after a context: a hash of the context, spread by SplitMix64 over the tokens."""
    digest = blake2b(np.asarray(context, "<i8").tobytes(), key=key, digest_size=8).digest()
    x_N = np.frombuffer(digest, "<u8") + (ids_N.astype(np.uint64) + np.uint64(1)) * np.uint64(
        0x9E3779B97F4A7C15
    )
    x_N = (x_N ^ (x_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x_N = (x_N ^ (x_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(((x_N ^ (x_N >> np.uint64(31))) >> np.uint64(11)) + 0.5) * 2.0**-53
