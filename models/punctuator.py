"""Restore case and punctuation with a recurrent tagger that reads a text from both ends.

The words are cut into pieces of a byte-level vocabulary, so there are no unknown words; the last piece of a word has
its tag (`written_words.py`), the others are not scored. Training reads windows of words one after another. Restoring
reads windows that overlap, and takes each tag from the window in which the word is farther from an end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np

from . import options
from .bundles.description import Description
from .bundles.sealed_folder import open_model, write_model
from .neural.labelling.labeller import Labeller
from .neural.labelling.rows import Sequences
from .neural.labelling.spec import TaggingSpec
from .text.given import given_texts
from .text.normal_form import require_unicode
from .tokens.vocabulary import Vocabulary
from .written_words import put_back, taken_off

CELLS = dict.fromkeys(("rnn", "gru", "lstm"), Labeller)
WINDOW = 200
"""Words that are read at a time."""
OVERLAP = 40
"""Words that two windows share in restoring."""
MOST_CHARACTERS = 200
"""Characters of a word that are read: text without spaces is one word, however long."""
MOST_PIECES = 30
"""Pieces of a word that are read."""


class Punctuator:
    """A tagger with its vocabulary.

    Args:
        vocabulary: Learnt from words without case and marks.
        labeller: Of the task "tagging", with the tags of `written_words.py`.
    """

    def __init__(self, vocabulary: Vocabulary, labeller: Labeller) -> None:
        self.vocabulary = vocabulary
        self.labeller = labeller

    def tags(self, texts: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return the number of the tag of each word of each text."""
        cut = WordPieces(self.vocabulary)
        windows = []
        for number, words in enumerate(texts):
            for first in range(0, max(len(words), 1), WINDOW - OVERLAP):
                windows.append((number, first, words[first : first + WINDOW]))
                if first + WINDOW >= len(words):
                    break

        windows = [window for window in windows if window[2]]
        tags: list[list[int]] = [[0] * len(words) for words in texts]
        if not windows:
            return tags

        rows = [cut(words) for _, _, words in windows]
        answers_P = self.labeller.answers(Sequences.of([ids for ids, _ in rows]))
        starts = np.cumsum([0, *(len(ids) for ids, _ in rows)])
        for (number, first, words), (_, last_N), start in zip(windows, rows, starts, strict=False):
            tags_N = answers_P[start + last_N].tolist()
            # The window before knows more of what comes earlier.
            overlap = OVERLAP // 2 if first else 0
            tags[number][first + overlap : first + len(words)] = tags_N[overlap:]

        return tags

    def restore(self, texts: Sequence[str]) -> list[str]:
        """Return texts with case and punctuation; what they have of them is taken off first.

        Raises:
            ModelError: kind "input": see `given_texts` and `require_unicode`.
        """
        texts = given_texts(texts)
        for text in texts:
            require_unicode(text)
        words = [taken_off(text).words for text in texts]
        return [put_back(row, tags) for row, tags in zip(words, self.tags(words), strict=True)]

    def save(self, folder: Path) -> None:
        """Write the model into a folder (`bundles/sealed_folder.py`)."""
        spec = self.labeller.spec
        values = {
            "task": spec.task,
            "kind": spec.kind,
            "spec": options.to_plain_values(spec),
        }
        write_model(folder, self.vocabulary, self.labeller, values)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Open a model written by `save`.

        Raises:
            ModelError: kind "bundle": no such model, newer than this version, or damaged; "input": there is no such
                device.
        """
        opened, _ = open_model(
            folder,
            Description,
            CELLS,
            lambda values: TaggingSpec(**values),
            CELLS.get,
            device,
        )
        return cls(opened.vocabulary, opened.model)


class WordPieces:
    """Cut words into the pieces of a vocabulary; each distinct word is cut once, of a very long one the end is kept."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all pieces, and the place of the last piece of each word."""
        new = [word for word in dict.fromkeys(words) if word not in self._known]
        cut = self._vocabulary.encode_batch([f" {word[-MOST_CHARACTERS:]}" for word in new])
        self._known.update((word, ids[-MOST_PIECES:]) for word, ids in zip(new, cut, strict=True))
        pieces = [self._known[word] for word in words]
        return np.concatenate(pieces), np.cumsum([len(ids) for ids in pieces]) - 1
