"""Compute the cost in nats of spelling out-of-vocabulary words, which a closed word vocabulary leaves out.

A word model encodes every unknown word as `<unk>`, so its perplexity does not include the cost of the word itself.
With this cost added, its figures can be compared with those of open vocabularies (characters, bytes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite, log
from typing import Any

BYTE_NATS = log(256)


@dataclass(frozen=True)
class Spelling:
    """A character unigram model over whole words: characters, then an end symbol.

    A character that is in no training word costs `unseen` plus log 256 per UTF-8 byte. So every string has a
    probability above 0, and the sum over all strings is at most 1.

    Args:
        characters: Nats of each known character.
        end: Nats of the end of the word.
        unseen: Nats of the event "the next character is not a known one".
    """

    characters: Mapping[str, float]
    end: float
    unseen: float

    @classmethod
    def estimate(cls, characters: Iterable[tuple[str, int]], words: int) -> Spelling:
        """Estimate the model from the counts of each character in distinct words, *words* of them.

        Every word counts once, because unknown words resemble types, not tokens. The share of unseen characters is the
        Good–Turing estimate N1/N (Good 1953). To keep it away from 0 and 1, 1 is added to the numerator and 2 to the
        denominator.
        """
        counts = sorted(characters)
        total = sum(count for _, count in counts) + words
        once = sum(1 for _, count in counts if count == 1)
        unseen = (once + 1) / (total + 2)
        known = max(total, 1) / (1 - unseen)
        # Round, so that the stored text is the same on every machine.
        nats = {char: round(-log(count / known), 6) for char, count in counts}
        return cls(nats, round(-log(max(words, 1) / known), 6), round(-log(unseen), 6))

    def nats(self, word: str) -> float:
        """Return −log p(word) including its end, in nats."""
        known = self.characters
        return self.end + sum(
            known[char] if char in known else self.unseen + BYTE_NATS * len(char.encode("utf-8", "replace"))
            for char in word
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"characters": dict(self.characters), "end": self.end, "unseen": self.unseen}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Spelling:
        """Rebuild the model from the result of `to_dict`; raise ValueError for other values."""
        characters = dict(values["characters"])
        prices = [*characters.values(), values["end"], values["unseen"]]
        if not all(isinstance(nats, int | float) and isfinite(nats) and nats >= 0 for nats in prices):
            raise ValueError("prices of spelling must be finite numbers, 0 or more")
        return cls(characters, float(values["end"]), float(values["unseen"]))
