"""Compare three ways to use the text before a review as context: reset, carry and sliding window.

    reset     every review is read from the fresh state; the only policy that the figures of a run follow
    carry     the reviews are one stream in their order; the state is carried from one to the next
    sliding   the same stream through a window of W tokens, moved by S: each window is read from the fresh state, and
              only its last S tokens are scored (in the first window all), so that each token is scored once and has at
              least W − S tokens before it, from its own review or from earlier ones

Each policy scores every token once. Figures of different policies cannot be compared: carry and sliding let a model
read earlier reviews. The context of an n-gram model never goes beyond the beginning of a review, so its figure is the
same under all three if its order is at most W − S + 1.

    python -m reviewlm.course.context.state_carry --window 128 --stride 64 [--model champion] [--text reviews.txt]
"""

from __future__ import annotations

from math import exp

import numpy as np

from reviewlm.course.inputs import held_out, open_models, program, show
from reviewlm.models.base import LanguageModel
from reviewlm.models.streams import TokenStream, side_by_side
from reviewlm.models.tokens.special import BOS

AT_ONCE = 4_096
"""Tokens per call of the model; bounds memory, does not change the result."""


def reset_nats(model: LanguageModel, stream: TokenStream) -> float:
    """Return −Σ log p of all reviews, each read from the fresh state; shorter ones are padded with `<bos>`, at 0."""
    nats = 0.0
    lengths_D = np.diff(np.asarray(stream.offsets))
    for rows in side_by_side(lengths_D, AT_ONCE):
        ids_BT = np.full((len(rows), int(lengths_D[rows].max())), BOS)
        for ids_T, row in zip(ids_BT, rows, strict=True):
            ids_T[: lengths_D[row]] = stream.document(int(row))
        nats += float(model.score(ids_BT, model.start(len(rows)))[0].sum())
    return nats


def carry_nats(model: LanguageModel, stream: TokenStream) -> float:
    """Return −Σ log p of the stream, with the state carried from review to review."""
    state = model.start(1)
    nats = 0.0
    for begin in range(0, len(stream.ids), AT_ONCE):
        nats_1T, state = model.score(
            np.asarray(stream.ids[begin : begin + AT_ONCE], np.int64)[None], state
        )
        nats += float(nats_1T.sum())
    return nats


def sliding_nats(
    model: LanguageModel,
    stream: TokenStream,
    window: int,
    stride: int,
) -> float:
    """Return −Σ log p of the stream read through a sliding window.

    Raises:
        ValueError: The stride is not between 1 and the window.
    """
    if not 1 <= stride < window:
        raise ValueError(
            f"window {window}, stride {stride}: the stride must be between 1 and the window"
        )

    ids = np.asarray(stream.ids, np.int64)
    nats = float(model.score(ids[None, :window], model.start(1))[0].sum())
    begins = stride * np.arange(1, 1 + max(0, len(ids) - window) // stride)
    for some_B in np.split(
        begins, range(max(1, AT_ONCE // window), len(begins), max(1, AT_ONCE // window))
    ):
        if len(some_B):
            nats_BT, _ = model.score(
                ids[some_B[:, None] + np.arange(window)], model.start(len(some_B))
            )
            nats += float(nats_BT[:, window - stride :].sum())

    rest = ids[stride * (len(begins) + 1) :]
    if len(rest) > window - stride:
        nats += float(model.score(rest[None], model.start(1))[0][:, window - stride :].sum())

    return nats


def main() -> None:
    """Show the perplexity of each model under each policy."""
    options = program(
        __doc__,
        models=True,
        window=128,
        stride=64,
    ).parse_args()
    bundles, data = open_models(options)
    rows = []
    for name, bundle in bundles.items():
        stream = held_out(options, bundle, data)
        nats = {
            "reset": reset_nats(bundle.model, stream),
            "carry": carry_nats(bundle.model, stream),
        }
        nats["sliding"] = sliding_nats(bundle.model, stream, options.window, options.stride)
        perplexities = {policy: exp(n / stream.tokens) for policy, n in nats.items()}
        rows.append(
            {
                "model": name,
                "tokens": stream.tokens,
                **perplexities,
            }
        )

    show(rows)


if __name__ == "__main__":
    main()
