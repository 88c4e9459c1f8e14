"""Ciphers solved by likelihood, and passwords by the number of likelier strings."""

from __future__ import annotations

import numpy as np
import pytest

import reviewlm
from reviewlm.course.inputs import review_table
from reviewlm.course.uses.ciphers import (
    bigram_logs,
    by_bigrams,
    by_model,
    encipher,
    excerpts,
    fit_characters,
    plain,
    right,
)
from reviewlm.course.uses.strength import Guesses, StrengthMeter, compare_guesses


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [plain(text) for text in review_table(None, 400)["text"]]


def test_a_cipher_replaces_each_letter_by_one_other() -> None:
    text = plain("It's the BEST soup — 5 stars!")
    cipher = encipher(text, 3)
    assert text == "its the best soup stars"
    assert len(set(zip(text, cipher, strict=True))) == len(set(text)) == len(set(cipher))


def test_the_model_reads_a_text_that_the_bigrams_do_not(texts: list[str]) -> None:
    """Held-out reviews of the grammar, 120 letters, with few starts."""
    logs, bundle = bigram_logs(texts[50:]), fit_characters(texts[50:])
    shares = []
    for number, text in enumerate(excerpts(texts[:50], 120, 3)):
        starts = by_bigrams(encipher(text, number), logs, restarts=12)
        end = by_model(encipher(text, number), bundle, starts[:1])
        shares.append((right(text, starts[0].text), right(text, end.text)))
    bigrams, model = np.mean(shares, 0)
    assert model > 0.9
    assert model > bigrams


def test_climbs_never_end_where_a_swap_of_two_letters_is_better(texts: list[str]) -> None:
    logs, cipher = bigram_logs(texts), encipher(texts[0][:150], 1)
    end = by_bigrams(cipher, logs, restarts=1)[0]
    places = np.array(["abcdefghijklmnopqrstuvwxyz ".index(char) for char in f" {end.text} "])

    def log_p(key: np.ndarray) -> float:
        swapped = key[places]
        return float(logs[swapped[:-1], swapped[1:]].sum())

    still = np.arange(27)
    for a in range(26):
        for b in range(a):
            key = still.copy()
            key[[a, b]] = b, a
            assert log_p(key) <= log_p(still) + 1e-6


def test_guesses_are_the_number_of_likelier_strings() -> None:
    """A model of two letters, whose strings can be counted: p falls with the length."""
    bundle = reviewlm.ngram.fit(
        ["a", "b", "aa", "ab", "ba", "bb", "aaa"] * 30, order=3, unit="char"
    ).bundle
    strings = [string for size in range(1, 5) for string in _strings(size)]
    nats = {
        string: score.nats
        for string, score in zip(strings, bundle.score_texts(strings, 0), strict=True)
    }
    for string in ("a", "bb", "aaa"):
        likelier = sum(each < nats[string] for each in nats.values())
        [found] = StrengthMeter(bundle, 2_000).guesses([string])
        assert found.low - 3 <= likelier <= found.high + 3


def _strings(size: int) -> list[str]:
    return ["".join("ab"[bit] for bit in bits) for bits in np.ndindex(*[2] * size)]


def test_common_passwords_are_weak() -> None:
    passwords = [f"{word}{number}" for word in ("soup", "love", "star") for number in range(100)]
    rows = compare_guesses(passwords, 2_000, 1)
    assert [row["held-out passwords"] for row in rows] == sorted(
        row["held-out passwords"] for row in rows
    )
    assert rows[1]["held-out passwords"] >= 0.9 > 0.1 > rows[1]["12 random letters and digits"]
    assert Guesses(1e20, 1e13, float("inf")).word == "strong"
    assert Guesses(1e20, 0.0, 1e21).word == "weak"
