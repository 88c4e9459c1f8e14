"""Measure perplexity with a truncated context: each token predicted from its last k tokens only.

Every chosen token is predicted several times: from the whole review so far, and from its last k tokens alone, read from
the fresh state. All predictions are of the same tokens, which have more than the largest k before them, so perplexities
compare. A context is enough if its perplexity is within 1 % of that of the whole review (Khandelwal et al. 2018, "Sharp
nearby, fuzzy far away").

The star token goes before the kept tokens, so that only words are forgotten; not for an n-gram model or an NPLM, which
would take the token after it for the beginning of a review.

    python -m reviewlm.course.context.context_use [--model champion] [--text reviews.txt]

Shapes: N chosen tokens, B of them side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, sqrt

import numpy as np

from reviewlm.course.inputs import held_out, open_models, program, show
from reviewlm.models.base import LanguageModel
from reviewlm.models.specs import ModelSpec
from reviewlm.models.streams import TokenStream

CONTEXTS = (1, 2, 5, 10, 20, 50)
PREFIX = 2
"""Tokens before the text: `<bos>` and the star token."""
PER_REVIEW = 20
SIDE_BY_SIDE = 128
ENOUGH = 0.01


def chosen_tokens(
    stream: TokenStream,
    longest: int,
    tokens: int,
    seed: int,
) -> list[tuple[int, int]]:
    """Return reviews and positions of about *tokens* tokens with more than *longest* words before them.

    Raises:
        ValueError: No review is that long.
    """
    lengths_D = np.diff(np.asarray(stream.offsets))
    first = PREFIX + longest + 1
    chosen: list[tuple[int, int]] = []
    for review in np.random.default_rng(seed).permutation(np.flatnonzero(lengths_D > first)):
        places = np.linspace(
            first, lengths_D[review] - 1, min(PER_REVIEW, int(lengths_D[review]) - first), dtype=int
        )
        chosen += [(int(review), int(place)) for place in places]
        if len(chosen) >= tokens:
            break

    if not chosen:
        raise ValueError(
            f"no review has more than {longest} words before a token; use shorter contexts"
        )

    return chosen[:tokens]


def nats_after(model: LanguageModel, texts: Sequence[np.ndarray]) -> np.ndarray:
    """Return −log p of the last token of each text given the others (N,), read from the fresh state."""
    nats_N = np.empty(len(texts))
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for begin in range(0, len(order), SIDE_BY_SIDE):
        some = order[begin : begin + SIDE_BY_SIDE]
        # A shorter text is repeated; its repetition is not scored.
        ids_BT = np.stack([np.resize(texts[number], len(texts[some[-1]])) for number in some])
        nats_BT, _ = model.score(ids_BT, model.start(len(some)))
        nats_N[some] = [
            nats_T[len(texts[number]) - 1] for number, nats_T in zip(some, nats_BT, strict=True)
        ]

    return nats_N


def context_curve(
    model: LanguageModel,
    stream: TokenStream,
    contexts: Sequence[int],
    tokens: int,
    rating: bool,
    seed: int,
) -> tuple[dict[int, tuple[float, float]], float]:
    """Return nats per token above the whole context, with their standard error, by context; and those of the whole.

    Args:
        model: Any language model.
        stream: Held-out reviews in its vocabulary.
        contexts: Numbers of tokens kept.
        tokens: Approximate number of tokens to predict.
        rating: Put the star token before the kept tokens.
        seed: Of the choice of reviews.
    """
    chosen = chosen_tokens(stream, max(contexts), tokens, seed)
    documents = {review: stream.document(review).astype(np.int64) for review, _ in chosen}
    whole_N = nats_after(model, [documents[review][: place + 1] for review, place in chosen])
    curve = {}
    for kept in sorted(contexts):
        texts = [documents[review][place - kept : place + 1] for review, place in chosen]
        if rating:
            texts = [
                np.r_[documents[review][1], text]
                for (review, _), text in zip(chosen, texts, strict=True)
            ]
        rise_N = nats_after(model, texts) - whole_N
        # Tokens of one review resemble each other, so the independent units are the sums over whole reviews.
        reviews_N = np.unique([review for review, _ in chosen], return_inverse=True)[1]
        sums_R = np.bincount(reviews_N, weights=rise_N - rise_N.mean())
        curve[kept] = float(rise_N.mean()), sqrt(float((sums_R**2).sum())) / len(rise_N)

    return curve, float(whole_N.mean())


def reads_ratings(spec: ModelSpec, model: LanguageModel) -> bool:
    """Return whether any part of a model sees a star token that stands far back."""
    parts = getattr(model, "parts", ())
    if parts:
        return any(reads_ratings(part.spec, part.model) for part in parts)
    return spec.kind not in ("ngram", "nplm")


def main() -> None:
    """Show the perplexity of each model by the tokens kept, and the smallest context that is enough."""
    options = program(__doc__, models=True, tokens=1_000).parse_args()
    bundles, data = open_models(options)
    rows = []
    for name, bundle in bundles.items():
        rating = reads_ratings(bundle.spec, bundle.model)
        stream = held_out(options, bundle, data)
        curve, whole = context_curve(
            bundle.model,
            stream,
            CONTEXTS,
            options.tokens,
            rating,
            options.seed,
        )
        enough = next(
            (str(kept) for kept, (rise, _) in curve.items() if exp(rise) <= 1 + ENOUGH), "all"
        )
        perplexities = {str(kept): exp(whole + rise) for kept, (rise, _) in curve.items()}
        rows.append(
            {
                "model": name,
                **perplexities,
                "all": exp(whole),
                "needs": enough,
            }
        )

    show(rows)


if __name__ == "__main__":
    main()
