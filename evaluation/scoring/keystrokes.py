"""Simulate typing to measure keystroke savings: the keys that suggestions would have saved the author of a review.

The keyboard always shows the few most probable entries of the vocabulary that begin with the part of the next token
that has been typed. Picking one costs one key and writes the rest of it. The typist picks as soon as the right entry is
shown, if picking needs fewer keys than typing on. A word is offered with the space before it. Keys are bytes of UTF-8,
and so are the text lengths that the saved keys are divided by. An unknown word is never shown, so it counts as typed in
full:

    keystroke savings = keys spared / bytes of the texts                       1 − keys with suggestions / keys without

K. Trnka and K. McCoy (2008), "Evaluating word prediction: framing keystroke savings", ACL. Here a pick costs one key,
and the space before the word is included. With a word vocabulary, the keyboard shows what
`next_words` and `completions` of `models/completion/suggestions.py` return, so typing with these saves the same keys
(but for marks of several characters, which are not completed). `suggest`, and so the server, offers words only, so the
keyboard's three places hold other entries where a mark is likely; without marks in the text the saved keys are equal.
For parts of words the figure is a lower bound: those
functions suggest whole words, and the simulated typist follows the single way in which the vocabulary cuts the text.

Shapes: N positions, V vocabulary entries, P lengths of the typed part.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from models.tokens.special import SPECIAL

if TYPE_CHECKING:
    from models.tokens.vocabulary import Vocabulary

HITS = (1, 3, 5)
"""Numbers of suggestions that are looked at."""

SHOWN = 3
"""Suggestions that the keyboard shows at a time."""
LAST = b"\xff"
"""Greater than every byte of UTF-8."""
CLOSING = frozenset(b".,!?;:)")
"""Last bytes of punctuation: a word after them is written with a space."""


class Keyboard:
    """Keyboard that shows suggestions from one vocabulary.

    Args:
        vocabulary: Its entries, without the special tokens, can be shown.
        shown: Suggestions at a time.
    """

    def __init__(self, vocabulary: Vocabulary, shown: int = SHOWN) -> None:
        self.shown = shown
        size, special = vocabulary.size, len(SPECIAL)
        # Entries of other units contain their spaces.
        self.word_V = vocabulary.word_start_V if vocabulary.unit == "word" else np.zeros(size, bool)
        entries = [b""] * special + [vocabulary.entry(token) for token in range(special, size)]
        self.texts = [b" " + text if word else text for text, word in zip(entries, self.word_V, strict=True)]
        self.spaced_V = self.word_V | np.array([bool(text) and text[-1] in CLOSING for text in entries])
        self.order_E = np.array(sorted(range(special, size), key=self.texts.__getitem__), np.int64)
        self._sorted = [self.texts[token] for token in self.order_E]
        self._known: dict[tuple[int, bool], tuple[np.ndarray, np.ndarray]] = {}

    def spared(self, better_NV: np.ndarray, target_N: np.ndarray, before_N: np.ndarray) -> np.ndarray:
        """Return the number of keys that suggestions save at each position (N,), at least 0.

        Args:
            better_NV: The entries that are shown before the target (bool).
            target_N: The token that was written; special tokens save nothing.
            before_N: The token before it.
        """
        spared_N = np.zeros(len(target_N), np.int64)
        before_NE = np.zeros((len(target_N), len(self.order_E) + 1), np.int32)
        np.cumsum(better_NV[:, self.order_E], axis=1, out=before_NE[:, 1:])
        for n, (token, before) in enumerate(zip(target_N.tolist(), before_N.tolist(), strict=True)):
            if token >= len(SPECIAL):
                free = bool(self.word_V[token]) and not self.spaced_V[before]
                low_P, high_P = self._ranges(token, free)
                # The first keys after which the entry is among those that are shown.
                typed = np.flatnonzero(before_NE[n, high_P] - before_NE[n, low_P] < self.shown)
                spared_N[n] = len(low_P) - 1 - typed[0] if len(typed) else 0
        return spared_N

    def _ranges(self, token: int, free: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return which sorted entries begin with the first 0, 1, 2 … bytes of a token: from (P,) up to (P,).

        Args:
            token: P is the number of keys that typing it takes.
            free: Whether no space has to be typed before this word.
        """
        if (token, free) not in self._known:
            text = self.texts[token]
            typed = [b"", *(text[:length] for length in range(2 if free else 1, len(text)))]
            low = [bisect_left(self._sorted, prefix) for prefix in typed]
            high = [bisect_left(self._sorted, prefix + LAST) for prefix in typed]
            self._known[token, free] = np.array(low), np.array(high)
        return self._known[token, free]


def usefulness(tokens: pl.DataFrame, bytes_typed: int) -> dict[str, float]:
    """Return how often the true next token is among the k most probable ones, and the share of keys saved.

    `<unk>` is never suggested, so an unknown token counts as missed. The end token counts as a suggestion. Ties go to
    the lower id. Hits and MRR are per token: they compare models of one vocabulary. Keystroke savings are per byte of
    text and compare any models.

    Args:
        tokens: Result of `evaluation.scoring.observe.observe`.
        bytes_typed: Length of the observed texts, ends included.

    Returns:
        hit@1, hit@3, hit@5, mrr (mean of 1/rank, 0 if the token was not suggested), keystroke_savings.
    """
    rank_N = tokens["suggestion"].cast(pl.Float64).fill_null(np.inf).to_numpy()
    figures = {f"hit@{k}": float((rank_N <= k).mean()) for k in HITS}
    figures["mrr"] = float((1 / rank_N).mean())
    return {**figures, "keystroke_savings": int(tokens["keys_spared"].sum()) / bytes_typed}
