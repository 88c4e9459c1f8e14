"""Solve a simple substitution cipher with a language model of characters, beside the usual solver by bigrams.

Each letter of the text stands for another one. Of all 26! ≈ 4·10²⁶ keys, the right one gives the text that the model
finds likeliest, if the text is long enough: Shannon's unicity distance is log₂ 26! ≈ 88 bits over the redundancy of
English, some 3.2 bits a letter, about 28 letters (Shannon 1949, "Communication theory of secrecy systems").

The search climbs: it swaps the two letters of the key that raise the probability most, until no swap does, from many
random keys. The sum of bigrams needs only their counts, so all 325 swaps cost next to nothing (Jakobsen 1995). The keys
that are best by bigrams are improved with the model, which knows longer contexts.

    python -m reviewlm.course.uses.ciphers --text reviews.txt
    python -m reviewlm.course.uses.ciphers --text reviews.txt --message "XUB JMMV ..."
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

import reviewlm
from reviewlm.course.inputs import program, review_table, show
from reviewlm.models.bundles.bundle import Bundle

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYMBOLS = LETTERS + " "
SIZE = len(LETTERS)
SWAPS = np.array(list(combinations(range(SIZE), 2)))
RESTARTS = 40
"""Random keys from which the search begins."""
REFINED = 4
"""Best keys that are improved with the model."""
SOLVED = 0.9
"""Share of right letters from which a person reads the text."""


class Solution(NamedTuple):
    """A text that a solver proposes, and the letter of it for each letter of the cipher (26)."""

    text: str
    key: np.ndarray


def plain(text: str) -> str:
    """Return the letters of a text in lower case, with one space in place of anything else."""
    return re.sub(r"[^a-z]+", " ", text.lower().replace("'", "")).strip()


def encipher(text: str, seed: int) -> str:
    """Return a text of `plain` with each letter replaced by that of a random key."""
    key = np.random.default_rng(seed).permutation(SIZE)
    return text.translate(
        {ord(letter): LETTERS[place] for letter, place in zip(LETTERS, key, strict=True)}
    )


def bigram_logs(texts: Sequence[str]) -> np.ndarray:
    """Return log p(next symbol | symbol) of some texts, with 1 added to each count (27, 27)."""
    counts = np.ones((SIZE + 1, SIZE + 1))
    for text in texts:
        places = _places(text)
        np.add.at(counts, (places[:-1], places[1:]), 1.0)
    return np.asarray(np.log(counts / counts.sum(1, keepdims=True)))


def _places(text: str) -> np.ndarray:
    return np.array([SYMBOLS.index(char) for char in f" {text} "])


def fit_characters(texts: list[str]) -> Bundle:
    """Return a model of characters; Witten–Bell smoothing, because 27 symbols have too few counts of counts."""
    return reviewlm.ngram.fit(
        texts,
        order=6,
        unit="char",
        smoothing="witten_bell",
    ).bundle


def by_bigrams(
    cipher: str,
    logs: np.ndarray,
    restarts: int = RESTARTS,
    seed: int = 1,
) -> list[Solution]:
    """Return the ends of the climbs from random keys, different ones, the likeliest first."""
    places = _places(cipher)
    counts = np.zeros((SIZE + 1, SIZE + 1))
    np.add.at(counts, (places[:-1], places[1:]), 1.0)
    draws = np.random.default_rng(seed)
    ends: dict[tuple[int, ...], float] = {}
    for _ in range(restarts):
        key = np.append(draws.permutation(SIZE), SIZE)
        best = -np.inf
        while True:
            keys = np.tile(key, (len(SWAPS), 1))
            rows = np.arange(len(SWAPS))[:, None]
            keys[rows, SWAPS] = keys[rows, SWAPS[:, ::-1]]
            sums = (counts * logs[keys[:, :, None], keys[:, None, :]]).sum((1, 2))
            if sums.max() <= best + 1e-9:
                break
            key = keys[sums.argmax()]
            best = sums.max()
        ends[tuple(key[:SIZE].tolist())] = best

    return [_solution(cipher, np.array(key)) for key in sorted(ends, key=lambda each: -ends[each])]


def by_model(
    cipher: str,
    bundle: Bundle,
    starts: Sequence[Solution],
) -> Solution:
    """Return the likeliest text that the climbs with a model reach from some keys."""
    ends = []
    for start in starts:
        key = start.key
        best = _bits(bundle, [start.text])[0]
        used = {LETTERS.index(char) for char in set(cipher) - {" "}}
        swaps = [swap for swap in SWAPS.tolist() if used & set(swap)]
        while True:
            keys = [key.copy() for _ in swaps]
            for one, (a, b) in zip(keys, swaps, strict=True):
                one[[a, b]] = one[[b, a]]
            bits = _bits(bundle, [_solution(cipher, one).text for one in keys])
            if bits.min() >= best - 1e-9:
                break
            key = keys[int(bits.argmin())]
            best = bits.min()
        ends.append((best, _solution(cipher, key)))

    return min(ends, key=lambda end: end[0])[1]


def _bits(bundle: Bundle, texts: list[str]) -> np.ndarray:
    """Return −log₂ p of texts, with all that their tokens leave out."""
    return np.array(
        [score.nats + score.spelling_nats for score in bundle.score_texts(texts)]
    ) / np.log(2)


def _solution(cipher: str, key: np.ndarray) -> Solution:
    table = {
        ord(letter): LETTERS[place] for letter, place in zip(LETTERS, key.tolist(), strict=True)
    }
    return Solution(cipher.translate(table), key)


def right(text: str, solution: str) -> float:
    """Return the share of letters that are right."""
    pairs = [(a, b) for a, b in zip(text, solution, strict=True) if a != " "]
    return sum(a == b for a, b in pairs) / max(1, len(pairs))


def excerpts(
    texts: Sequence[str],
    length: int,
    count: int,
) -> list[str]:
    """Return the first letters of texts that are long enough, cut at a space."""
    long = [text for text in texts if len(text) > length]
    return [text[: text.rfind(" ", 0, length + 1)] for text in long[:count]]


def compare_solvers(
    texts: list[str],
    lengths: Sequence[int],
    count: int,
    seed: int,
) -> list[dict[str, float | int]]:
    """Return a row for each length: the share of held-out texts that each solver reads."""
    held_out = max(count, len(texts) // 10)
    train = texts[held_out:]
    test = texts[:held_out]
    logs = bigram_logs(train)
    bundle = fit_characters(train)
    rows: list[dict[str, float | int]] = []
    for length in lengths:
        shares: list[tuple[float, float]] = []
        for number, text in enumerate(excerpts(test, length, count)):
            starts = by_bigrams(encipher(text, seed + number), logs, seed=seed)
            end = by_model(encipher(text, seed + number), bundle, starts[:REFINED])
            shares.append((right(text, starts[0].text), right(text, end.text)))
        if shares:
            bigrams, model = (np.array(shares) >= SOLVED).mean(0).tolist()
            rows.append(
                {
                    "letters": length,
                    "texts": len(shares),
                    "bigrams": bigrams,
                    "model": model,
                }
            )

    return rows


def main() -> None:
    """Read a message, or say how many held-out texts of each length are read."""
    options = program(__doc__, count=20, message="").parse_args()
    texts = []
    for text in map(plain, review_table(options.text, options.reviews, options.seed)["text"]):
        if text:
            texts.append(text)

    if not options.message:
        show(compare_solvers(texts, (50, 100, 200, 400), options.count, options.seed))
        return

    message = plain(options.message)
    bundle = fit_characters(texts)
    print(by_model(message, bundle, by_bigrams(message, bigram_logs(texts))[:REFINED]).text)


if __name__ == "__main__":
    main()
