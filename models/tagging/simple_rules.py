"""Restore case and punctuation without a network, to compare with: by rules, and by the most frequent tag of a word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .written_words import CASES, MARKS, TaggedWords

TITLE, STOP = CASES.index("Title") * len(MARKS), MARKS.index(".")


def by_rules(words: Sequence[str]) -> list[int]:
    """Return tags: the first word and "I" have a capital, the last word a full stop, and nothing else is written."""
    tags = [TITLE if place == 0 or word == "i" or word.startswith("i'") else 0 for place, word in enumerate(words)]
    return _ended(tags)


class UsualTags:
    """The most frequent tag of each word in training texts; of equally frequent ones, the first in the order of `TAGS`.

    Args:
        texts: Training texts.
    """

    def __init__(self, texts: Iterable[TaggedWords]) -> None:
        counts = Counter(pair for text in texts for pair in zip(text.words, text.tags, strict=True))
        most: dict[str, tuple[int, int]] = {}
        for (word, tag), count in counts.items():
            most[word] = min(most.get(word, (0, 0)), (-count, tag))
        self._tags = {word: tag for word, (_, tag) in most.items()}

    def __call__(self, words: Sequence[str]) -> list[int]:
        """Return the tags of a text: unknown words are lower, the first has a capital, the last a full stop."""
        tags = [self._tags.get(word, 0) for word in words]
        if tags and tags[0] < TITLE:
            tags[0] += TITLE
        return _ended(tags)


def _ended(tags: list[int]) -> list[int]:
    if tags and tags[-1] % len(MARKS) == 0:
        tags[-1] += STOP
    return tags
