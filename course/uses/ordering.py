"""Put words in order, which is what a language model adds to the realisation of a sentence (Schmaltz et al. 2016).

A generator of text knows what to say, here the words of a sentence without their order, and the language model how it
is said. Partial sentences are extended by each word that is left; the likeliest are kept, and the likeliest whole
sentence, which a full stop or the end of the text follows, wins.

BLEU (Papineni et al. 2002) tells how many n-grams of the original it has, beside those of shuffled words.

    python -m reviewlm.course.uses.ordering --text reviews.txt                # BLEU on held-out sentences
    python -m reviewlm.course.uses.ordering --text reviews.txt --order "rude was waiter the"

This orders given words. What to say, and about which facts, it does not know.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from math import exp, log
from random import Random
from typing import NamedTuple

import numpy as np
import torch

from reviewlm.core.errors import ReviewLMError
from reviewlm.course.inputs import learnt_and_held_out, open_models, program, show
from reviewlm.course.uses.rescoring import sentences
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.tokens.special import EOS

HIGHEST_ORDER = 4
"""n of the longest n-grams of BLEU."""


class Beam(NamedTuple):
    """A partial sentence: log p, its words, and the words that are left."""

    log_p: float
    tokens: tuple[int, ...]
    left: tuple[int, ...]


def order_words(
    bundle: Bundle,
    words: Sequence[str],
    width: int,
) -> list[str]:
    """Return the words in their likeliest order, as far as a beam of this width finds it.

    Raises:
        ValueError: A word is not one entry of the vocabulary.
    """
    ids = [_token(bundle, word) for word in words]
    ends = [EOS, *bundle.vocabulary.encode(".").tolist()[:1]]
    model = bundle.model
    state = bundle.model.start(1)
    for token in bundle.vocabulary.prefix(0):
        logp_BV, state = model.step(np.array([token]), state)

    beams = [Beam(0.0, (), tuple(sorted(ids)))]
    for _ in ids:
        scores_BV = torch.log_softmax(logp_BV.double(), 1).cpu().numpy()
        longer = [
            (beam.log_p + float(scores_BV[row, token]), row, token)
            for row, beam in enumerate(beams)
            for token in dict.fromkeys(beam.left)
        ]
        best = sorted(longer, reverse=True)[:width]
        rows = [row for _, row, _ in best]
        tokens = [token for _, _, token in best]
        beams = [
            Beam(score, (*beams[row].tokens, token), _without(beams[row].left, token))
            for score, row, token in best
        ]
        logp_BV, state = model.step(np.array(tokens), state.take(rows))

    ends_B = torch.log_softmax(logp_BV.double(), 1)[:, ends].logsumexp(1).cpu().numpy()
    best_beam = max(zip(beams, ends_B, strict=True), key=lambda pair: pair[0].log_p + pair[1])[0]
    names = dict(zip(ids, words, strict=True))
    return [names[token] for token in best_beam.tokens]


def _token(bundle: Bundle, word: str) -> int:
    ids = bundle.vocabulary.encode(word).tolist()
    if len(ids) != 1 or bundle.vocabulary.decode(ids).lower().strip() != word.lower():
        raise ValueError(f"{word!r} is not one word of the vocabulary")
    return int(ids[0])


def _without(tokens: tuple[int, ...], token: int) -> tuple[int, ...]:
    at = tokens.index(token)
    return tokens[:at] + tokens[at + 1 :]


def bleu(references: Sequence[Sequence[str]], made: Sequence[Sequence[str]]) -> float:
    """Return BLEU-4 of sentences, each with one reference: geometric mean of clipped precisions, brevity penalty."""
    matches = [0] * HIGHEST_ORDER
    totals = [0] * HIGHEST_ORDER
    for right, given in zip(references, made, strict=True):
        for n in range(HIGHEST_ORDER):
            known = _count_ngrams(right, n + 1)
            found = _count_ngrams(given, n + 1)
            matches[n] += (known & found).total()
            totals[n] += found.total()

    if not all(matches):
        return 0.0

    lengths = [sum(map(len, rows)) for rows in (references, made)]
    brevity = min(0.0, 1 - lengths[0] / lengths[1])
    return exp(
        brevity
        + sum(log(match / total) for match, total in zip(matches, totals, strict=True))
        / HIGHEST_ORDER
    )


def _count_ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Return the n-grams of a sentence with their counts."""
    shifted = [words[at:] for at in range(n)]
    return Counter(zip(*shifted, strict=False))


def main() -> None:
    """Measure BLEU on held-out sentences, or order the words of one."""
    options = program(
        __doc__,
        models=True,
        sentences=200,
        width=50,
        longest=15,
        order="",
    ).parse_args()
    texts = []
    if not options.order:
        texts = sentences(learnt_and_held_out(options)[1]["text"])

    try:
        bundles, _ = open_models(options)
        if options.order:
            for name, bundle in bundles.items():
                print(
                    f"{name}: {' '.join(order_words(bundle, options.order.lower().split(), options.width))}"
                )
            return
    except (ReviewLMError, ValueError) as error:
        sys.exit(str(error))

    rows: list[list[str]] = []
    draws = Random(options.seed)
    for text in texts:
        words = text.split()
        if len(words) <= options.longest and all(
            _is_known(bundle, words) for bundle in bundles.values()
        ):
            rows.append(words)

    rows = rows[: options.sentences]
    if not rows:
        sys.exit(
            f"no held-out sentence has 4 to {options.longest} words, all known: a longer --text, more --reviews"
        )

    shuffled = [draws.sample(words, len(words)) for words in rows]
    ways = {"shuffled": shuffled} | {
        name: [order_words(bundle, words, options.width) for words in shuffled]
        for name, bundle in bundles.items()
    }
    print(
        f"{len(rows)} held-out sentences of 4 to {options.longest} known words, a beam of {options.width}"
    )
    show(
        [
            {
                "ordered by": name,
                "BLEU": bleu(rows, made),
                "as written": float(
                    np.mean([one == other for one, other in zip(rows, made, strict=True)])
                ),
            }
            for name, made in ways.items()
        ]
    )


def _is_known(bundle: Bundle, words: Sequence[str]) -> bool:
    try:
        return bool([_token(bundle, word) for word in words])
    except ValueError:
        return False


if __name__ == "__main__":
    main()
