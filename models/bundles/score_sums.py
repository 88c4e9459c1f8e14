"""Sum the scores of several texts, as the command line and the server show them."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Any

from .text_scores import TextScore

LARGEST_EXPONENT = 700.0
"""exp of more overflows."""


def sum_of_scores(scores: Sequence[TextScore]) -> dict[str, Any]:
    """Return the totals over texts: perplexity per token and bits per byte of UTF-8, with the ends of texts included.

    Compare by the first figure: in `bits_per_byte` and `perplexity`, out-of-vocabulary words cost almost nothing.
    """
    nats, tokens = sum(score.nats for score in scores), sum(score.tokens for score in scores)
    size = sum(score.bytes for score in scores)
    spelling, oov = sum(score.spelling_nats for score in scores), sum(score.oov for score in scores)
    return {
        "open_bits_per_byte": (nats + spelling) / size / log(2), "bits_per_byte": nats / size / log(2), "oov": oov,
        "texts": len(scores), "tokens": tokens, "bytes": size, "nats": nats, "spelling_nats": spelling,
        "perplexity": exp(min(nats / tokens, LARGEST_EXPONENT)),
        "scores": [
            {"open_bits_per_byte": score.open_bits_per_byte, "bits_per_byte": score.bits_per_byte, "oov": score.oov,
             "nats": score.nats, "spelling_nats": score.spelling_nats, "tokens": score.tokens, "bytes": score.bytes,
             "per_token": score.per_token}
            for score in scores
        ],
    }
