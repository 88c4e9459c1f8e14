"""Compare smoothing methods of n-gram models: perplexity by method, order and amount of text, on the same tokens.

All models have the vocabulary of the whole training text, since perplexities compare only if the events are the same.
Methods that tune parameters (add-k, Jelinek–Mercer) do so on validation text and are measured on other text. A model
that gives a token probability 0 (maximum likelihood) has an infinite perplexity, and infinity is shown.

    python -m reviewlm.course.words.ngram_methods --reviews 3000 [--text reviews.txt]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from reviewlm.course.inputs import data_of, program, show
from reviewlm.models.ngram.lm import NGramLM
from reviewlm.models.specs import SCORES_ONLY, NGramSpec, Smoothing
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.ngram.counting.counts import NGramCounts, count_ngrams, unseen_share
from reviewlm.training.ngram.fitting import fit_tables
from reviewlm.training.ngram.measure import measure

if TYPE_CHECKING:
    from reviewlm.course.inputs import SplitReviews
    from reviewlm.models.streams import TokenStream

METHODS = [method for method in get_args(Smoothing) if method not in SCORES_ONLY]
"""All methods that give probabilities; stupid back-off gives scores only."""
ORDERS = (1, 2, 3, 4, 5)
"""Lengths N of the longest n-grams."""
AMOUNTS = (16, 4, 1)
"""One review in this number is used."""


class TextPart:
    """Every n-th document of a stream, evenly spaced, one after another."""

    def __init__(self, stream: TokenStream, every: int) -> None:
        documents = [stream.document(number) for number in range(0, len(stream), every)]
        self.ids = np.concatenate(documents)
        self.offsets = np.cumsum([0, *map(len, documents)])


def perplexity(
    counts: NGramCounts,
    method: str,
    data: SplitReviews,
) -> float:
    """Return the test perplexity of a model of these counts; the method chooses its parameters on validation text."""
    spec = NGramSpec(order=counts.order, smoothing=method)  # type: ignore[arg-type]
    model = NGramLM(fit_tables(counts, spec, held_out=data.validation).tables)
    return measure(model, np.asarray(data.test.ids, np.int64), CONTEXT_IDS)["perplexity"]


def main() -> None:
    """Show perplexity by method and order, then by amount of text for the best method."""
    data = data_of(program(__doc__, reviews=3_000).parse_args())
    rows: dict[str, dict[str, Any]] = {method: {"method": method} for method in METHODS}
    for order in ORDERS:
        counts = count_ngrams(data.train, order, data.vocabulary.size, CONTEXT_IDS)
        for method in METHODS:
            rows[method][f"order {order}"] = perplexity(counts, method, data)

    show(list(rows.values()))
    best = min(METHODS, key=lambda method: float(rows[method][f"order {ORDERS[-1]}"]))
    amounts = []
    for every in AMOUNTS:
        counts = count_ngrams(
            TextPart(data.train, every), ORDERS[-1], data.vocabulary.size, CONTEXT_IDS
        )
        new = {
            f"new {order}-grams": f"{share:.0%}"
            for order, share in unseen_share(counts, data.test).items()
        }
        reached = perplexity(counts, best, data)
        amounts.append(
            {
                "method": best,
                "reviews": f"1 in {every}",
                "perplexity": reached,
                **new,
            }
        )

    print()
    show(amounts)


if __name__ == "__main__":
    main()
