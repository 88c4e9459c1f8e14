"""Find the ways to go on inside the word at the end of a prompt, for vocabularies of parts of words (token healing).

The usual tokens of "the food was gre" end with " gre". After that token a model expects nothing of "great", which its
training text has as the token " great". So the tokens of an unfinished word are not fixed: given its characters, each
way to cut them has a probability, which is summed over all that may follow (`spellings.py`). A way is drawn, and the
text goes on from there. Together, the texts are those of the model that begin with the characters of the prompt; the
text before the word counts as cut in the usual way.

Whoever writes a whole word without a space means that word: one that is likely to be finished, as `/suggest` decides
it, is read as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..tokens.vocabulary import Vocabulary
from .reading import Ids, PrefixReader, Search
from .spellings import EXACT
from .suggestions import FINISHED_SUBWORDS, spelled_word
from .typed import TextStart

NOTHING = np.zeros(0, np.int64)


class Way(NamedTuple):
    """One way to cut an unfinished word into tokens.

    Args:
        mass: Its probability, given the text before the word.
        path: The tokens within the word.
        first: The entries of which one comes next: they begin with what is left of the word, and go beyond it. Empty:
            the path ends where the word does, and any token may come.
    """

    mass: float
    path: Ids
    first: np.ndarray = NOTHING


@dataclass(frozen=True)
class WaysOn:
    """The ways to go on from a prompt.

    Args:
        vocabulary: Of the model.
        usual: The prompt as it is usually cut.
        ways: The ways to cut its last word; none if that is finished, or the prompt ends with something else.
    """

    vocabulary: Vocabulary
    usual: TextStart
    ways: Sequence[Way] = ()

    @property
    def shares(self) -> np.ndarray:
        """The probability of each way, given the characters of the prompt."""
        masses = np.array([way.mass for way in self.ways] or [1.0])
        return masses / masses.sum()

    def start(self, number: int) -> TextStart:
        """Return the text's beginning in one of the ways."""
        usual = self.usual._replace(open=None)
        if not self.ways or self.usual.open is None:
            return usual
        way, typed = self.ways[number], self.usual.open
        usual = usual._replace(ids=typed.context + way.path)
        if not len(way.first):
            return usual
        read = b"".join(map(self.vocabulary.entry, way.path)).decode("utf-8", "ignore")
        return usual._replace(
            first=tuple(way.first.tolist()), word=typed.characters.decode()[len(read) :], path=way.path
        )


def ways_on(vocabulary: Vocabulary, usual: TextStart, prefix: Ids, reader: PrefixReader) -> Search[WaysOn]:
    """Search the ways to go on from a prompt.

    Args:
        vocabulary: Of the model.
        usual: The prompt.
        prefix: Tokens before those of the prompt.
        reader: Reads token sequences.
    """
    if usual.open is None:
        return WaysOn(vocabulary, usual)
    context = prefix + usual.open.context
    spelled = yield from spelled_word(vocabulary, replace(usual.open, context=context), reader, EXACT)
    if spelled is None or spelled.finished >= FINISHED_SUBWORDS:
        return WaysOn(vocabulary, usual)
    node, begun = spelled.node, len(context)
    ways = [Way(read.weight, read.ids[begun:]) for read in node.read]
    for source in node.sources:
        if source.start == len(node.text):  # after the word, where any token may come
            continue
        _, high, longer = source.index.place(node.text[source.start :])
        if longer < high and (mass := source.between(longer, high)) > 0:
            ways.append(Way(mass, source.ids[begun:], source.index.ids_E[longer:high]))
    return WaysOn(vocabulary, usual, ways)
