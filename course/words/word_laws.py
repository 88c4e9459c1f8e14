"""Show what the words of reviews obey: Zipf's and Heaps' laws, unknown words by vocabulary size, words of ratings.

Zipf: the r-th most frequent word occurs about C / r^s times. The first few words follow no power law, and s grows
beyond a few thousand (Ferrer i Cancho and Solé 2001), so s is fitted between ranks 10 and 1,000. Heaps: n tokens hold
about K n^β different words, so no training text has all words, and any vocabulary leaves some unknown (`<unk>`). Both
laws are fitted by least squares to logarithms.

Which words tell a 1-star from a 5-star review? Words that are frequent in both, or rare in both, do not. The score is
the log-odds ratio of a word with a Dirichlet prior, in standard deviations (Monroe, Colaresi and Quinn 2008, eq. 16, 20
and 22): with counts y of n tokens, prior a of a₀ tokens, ω = (y + a) / (n + a₀ − y − a), z = ln(ω₅ / ω₁) / √(1/(y₅ + a)
+ 1/(y₁ + a)).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from reviewlm.course.inputs import program, review_table
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.words import cut, fold_texts

PRIOR_TOKENS = 10_000
LEAST_OCCURRENCES = 10
"""Occurrences in reviews of 1 and 5 stars that a word needs for a contrast."""


def power_law(
    points: Sequence[tuple[int, int]],
    low: int,
    high: float = math.inf,
) -> tuple[float, float] | None:
    """Return factor and exponent of y ≈ factor · x^exponent, fitted to the points with low ≤ x ≤ high; None with fewer than 3."""
    used = [(x, y) for x, y in points if low <= x <= high and y > 0]
    if len(used) < 3:
        return None
    x, y = np.log10(np.array(used, float)).T
    exponent, shift = np.polyfit(x, y, 1)
    return float(10**shift), float(exponent)


def spaced_numbers(last: int) -> list[int]:
    """Return whole numbers from 1 to *last*, twelve for each factor of ten."""
    steps = math.floor(math.log10(max(last, 1)) * 12)
    if last:
        return sorted({round(10 ** (step / 12)) for step in range(steps + 1)} | {last})
    return []


def growth(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Return (tokens read, different words among them) at spaced places."""
    first: dict[str, int] = {}
    for place, word in enumerate(tokens):
        first.setdefault(word, place)
    places = np.fromiter(first.values(), int)
    return [(read, int(np.searchsorted(places, read))) for read in spaced_numbers(len(tokens))]


def unknown_shares(
    train: Counter[str],
    held_out: Counter[str],
    sizes: Sequence[int],
) -> list[tuple[int, float]]:
    """Return the share of held-out tokens that are not among the n most frequent words of train, for several n."""
    ranked = sorted(train, key=lambda word: (-train[word], word))
    shares = []
    for n in sizes:
        if n <= len(ranked):
            known = sum(held_out[word] for word in ranked[:n])
            shares.append((n, 1 - known / held_out.total()))

    return shares


def contrasts(
    one: Counter[str],
    five: Counter[str],
    prior: Counter[str],
) -> dict[str, float]:
    """Return the z-score of each word, from most "1 star" to most "5 stars"."""
    scores: dict[str, float] = {}
    share = PRIOR_TOKENS / prior.total()
    for word in one.keys() | five.keys():
        if one[word] + five[word] >= LEAST_OCCURRENCES and any(map(str.isalpha, word)):
            smoothed = []
            for counts in (one, five):
                smoothed.append((counts[word] + share * prior[word], counts.total() + PRIOR_TOKENS))

            low, high = (math.log(y / (n - y)) for y, n in smoothed)
            scores[word] = (high - low) / math.sqrt(sum(1 / y for y, _ in smoothed))

    return dict(sorted(scores.items(), key=lambda item: (item[1], item[0])))


def _show(
    name: str,
    law: tuple[float, float] | None,
    points: Mapping[int, int],
) -> None:
    fit = "too few words for a fit"
    if law is not None:
        fit = f"{law[0]:,.3g} · x^{law[1]:.3f}"

    print(f"{name:6} {fit}; " + ", ".join(f"{x:,}: {y:,}" for x, y in points.items()))


def main() -> None:
    """Count the words of some reviews and print the laws, unknown words, and the words of 1 and of 5 stars."""
    options = program(__doc__, words=12).parse_args()
    table = review_table(options.text, options.reviews, options.seed)
    normal = NormalForm()
    reviews = cut(fold_texts([normal.apply(text) for text in table["text"]], fold=True))
    tokens = [word for review in reviews for word in review]
    counts = Counter(tokens)
    ranked = [count for _, count in counts.most_common()]
    ranks = [(rank, ranked[rank - 1]) for rank in spaced_numbers(len(ranked))]
    print(f"{len(tokens):,} tokens, {len(counts):,} different, {ranked.count(1):,} of them once")
    _show(
        "Zipf",
        power_law(ranks, 10, 1_000),
        {rank: count for rank, count in ranks if rank in (1, 10, 100, 1_000)},
    )
    seen = growth(tokens)
    _show("Heaps", power_law(seen, 10_000 if len(tokens) > 100_000 else 1), dict(seen[11::12]))
    tenth = len(reviews) * 9 // 10
    sides = reviews[:tenth], reviews[tenth:]
    train, held_out = (Counter(word for review in side for word in review) for side in sides)
    shares = unknown_shares(train, held_out, [100, 300, 1_000, 3_000, 10_000, 30_000, 100_000])
    print(
        "unknown of the last tenth, by vocabulary size:",
        ", ".join(f"{n:,}: {share:.2%}" for n, share in shares),
    )
    rated = {}
    for star in (1, 5):
        rated[star] = Counter(
            word
            for review, stars in zip(reviews, table["stars"], strict=True)
            if stars == star
            for word in review
        )

    if all(rated.values()):
        words = list(contrasts(rated[1], rated[5], counts))
        print("1 star: ", " ".join(words[: options.words]))
        print("5 stars:", " ".join(words[: -options.words - 1 : -1]))


if __name__ == "__main__":
    main()
