"""What a closed word vocabulary does not pay: the price of spelling the words that it does not know.

A word model gives every unknown word the same entry `<unk>`, so its perplexity says nothing of which word stood there.
Adding the price below makes its figures comparable with those of open vocabularies (characters, bytes).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite, log
from typing import Any

BYTE_NATS = log(256)


@dataclass(frozen=True)
class Spelling:
    """A character unigram model over whole words: characters, then an end symbol.

    Characters that no training word has cost `unseen` plus log 256 per UTF-8 byte, so that every string has a
    probability above 0 and all of them together at most 1.

    Args:
        characters: Nats of each known character.
        end: Nats of the end of the word.
        unseen: Nats of "the next character is none of the known ones".
    """

    characters: Mapping[str, float]
    end: float
    unseen: float

    @classmethod
    def train(cls, words: Iterable[str]) -> Spelling:
        """Estimate the model on distinct words, each counted once: unknown words resemble types, not tokens.

        The share of unseen characters is the Good–Turing estimate N1/N (Good 1953), kept away from 0 and 1 by adding
        1 above and 2 below.
        """
        counts: Counter[str] = Counter()
        types = 0
        for word in words:
            counts.update(word)
            types += 1
        return cls.estimate(counts.items(), types)

    @classmethod
    def estimate(cls, characters: Iterable[tuple[str, int]], words: int) -> Spelling:
        """Estimate the model from how often each character stands in so many distinct *words*; see `train`."""
        counts = sorted(characters)
        total = sum(count for _, count in counts) + words
        once = sum(1 for _, count in counts if count == 1)
        unseen = (once + 1) / (total + 2)
        known = max(total, 1) / (1 - unseen)
        # Rounded, so that the stored text is the same on every machine.
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
        """Rebuild what `to_dict` gave; ValueError where it is something else."""
        characters = dict(values["characters"])
        prices = [*characters.values(), values["end"], values["unseen"]]
        if not all(isinstance(nats, int | float) and isfinite(nats) and nats >= 0 for nats in prices):
            raise ValueError("prices of spelling must be finite numbers, 0 or more")
        return cls(characters, float(values["end"]), float(values["unseen"]))
