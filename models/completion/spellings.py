"""Compute the exact probability that a text goes on with given characters, over all ways to cut them into tokens.

A model predicts tokens, a typist writes characters. The characters "gre" may be the beginning of the token " great", or
of " gr" and "eat". Their probability is the sum over all token sequences that cover them: each token but the last ends
within the characters, and the last one reaches their end or beyond. So only the token sequences that end within the
characters are stepped through the model. All tokens that begin with the characters left over are one range of a sorted
index, and their probability is the difference of two cumulative sums. (T. Vieira et al. (2024), "From language models
over tokens to language models over characters".)

Word vocabularies also drop case and spaces, and spell unknown words: see `word_spellings.py`.

Text is handled as UTF-8 bytes, because a token may end within a character.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..tokens.special import EOS
from ..tokens.vocabulary import Vocabulary
from ..tokens.words import FIRST
from .reading import Ids, PrefixReader, PrefixReading, Search

ROUNDED = 1e-7
"""Probability of a range below which cumulative sums, which end near 1, are not exact enough: half of their digits."""


@dataclass(frozen=True)
class Cutoffs:
    """Limits of probability and width below which a search stops.

    Args:
        sequence: Token sequences below this share: in a search, of all that the typed characters allow; on the way to
            them, of all that begins with the same characters.
        word: Words of parts below this share of all that the typed characters allow.
        width: Largest number of beginnings of words that the model extends in one batch.
        alike: A batch has no beginning that is less probable than this share of its most probable one.
        joint: Words after a typed one count by the probability that it is finished, too.
        reachable: No character that may follow is left out, however improbable: the most probable token sequence that
            ends at a character is looked for, even below *sequence*, and small probabilities are summed one by one.
            Models of ours give each token a probability, so one sequence is enough to go on with any character.
    """

    sequence: float
    word: float
    width: int
    alike: float
    joint: bool = False
    reachable: bool = False

    def after(self, finished: float) -> Cutoffs:
        """Return the cutoffs of the words after a typed one, which is finished with this probability."""
        if self.joint:
            return replace(self, word=self.word / max(finished, self.word))
        return self


EXACT = Cutoffs(
    sequence=1e-9,
    word=1e-5,
    width=16,
    alike=0.3,
)
"""Probabilities have an error of less than 1e-6, unless the typed characters are very improbable after their own
beginning."""
REACHABLE = replace(EXACT, reachable=True)
"""For writing one character after another: every text can be written."""
QUICK = Cutoffs(
    sequence=1e-3,
    word=1e-3,
    width=8,
    alike=0.3,
    joint=True,
)
"""For suggestions while somebody types: few of the token sequences are read (docs/how_to/serve.md)."""


@dataclass(frozen=True)
class TokenSource:
    """Entries that may come next after some tokens, with their probabilities.

    Args:
        weight: Probability of these tokens.
        index: The entries.
        sums_E: Their cumulative probabilities.
        start: Length of the text where they begin.
        ids: The tokens.
        p_V: Probabilities by the number of an entry, for ranges that are too improbable for the sums; None: use the
            sums only.
    """

    weight: float
    index: EntryIndex
    sums_E: np.ndarray
    start: int
    ids: Ids
    p_V: np.ndarray | None = None

    def between(self, low: int, high: int) -> float:
        """Return the probability of a range of entries."""
        mass = float(self.sums_E[high] - self.sums_E[low])
        if mass < ROUNDED and self.p_V is not None:
            mass = float(self.p_V[self.index.ids_E[low:high]].sum())
        return self.weight * mass

    def among(self, bounds: np.ndarray) -> np.ndarray:
        """Return the probabilities of the ranges of entries between these bounds (G + 1); none of them is empty."""
        if self.p_V is None:
            return np.asarray(self.weight * np.diff(self.sums_E[bounds]))
        inside_E = self.p_V[self.index.ids_E[bounds[0] : bounds[-1]]]
        return np.asarray(self.weight * np.add.reduceat(inside_E, bounds[:-1] - bounds[0]))


class SequenceEnd(NamedTuple):
    """A token sequence that ends with a text: its probability, and the source and place of its last entry."""

    weight: float
    source: TokenSource
    place: int


class TokenSequence(NamedTuple):
    """Token sequences that end with a text, and their probability.

    Args:
        ids: The tokens.
        weight: Their probability.
        after: All of how they are written that decides about what follows (`word_spellings.py`).
    """

    ids: Ids
    weight: float
    after: Any = None


@dataclass
class Node:
    """All token sequences that cover a text.

    Attributes:
        text: The characters so far.
        mass: Their probability.
        sources: The entries that go beyond the text.
        ended: The token sequences that end with the text; not yet read by the model.
        read: Those that are read.
    """

    text: bytes
    mass: float
    sources: list[TokenSource] = field(default_factory=list)
    ended: list[TokenSequence] = field(default_factory=list)
    read: list[TokenSequence] = field(default_factory=list)


class Spellings:
    """The ways in which a text may go on, character by character, for vocabularies that lose nothing of it.

    Args:
        vocabulary: Vocabulary of the model.
        reader: Reads token sequences.
        context: Tokens of the text so far, special tokens included.
        before: The text so far.
        cutoffs: What is left out.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        reader: PrefixReader,
        context: Ids,
        before: str,
        cutoffs: Cutoffs = EXACT,
    ) -> None:
        self._vocabulary = vocabulary
        self._reader = reader
        self._before = before
        self._cutoffs = cutoffs
        self._texts = texts_of(vocabulary)
        self.root = Node(b"", 1.0, ended=[TokenSequence(context, 1.0)])

    def descend(self, text: bytes) -> Search[Node | None]:
        """Return the node of a text, or None if no token sequence covers it."""
        node = self.root
        for depth in range(len(text)):
            if self._fits(node, text[depth:]):
                yield from self.extend([node])
            child = self.child(node, text[depth])
            if child is None:
                return None
            node = child
        return node

    def extend(self, nodes: Iterable[Node]) -> Search[None]:
        """Let the model read the token sequences that end at some nodes, in one batch."""
        pairs = []
        for node in nodes:
            pairs += [(node, ended) for ended in node.ended]
            node.read = node.read + node.ended
            node.ended = []
        yield [ended.ids for _, ended in pairs]
        readings = self._reader([ended.ids for _, ended in pairs])
        for (node, ended), reading in zip(pairs, readings, strict=True):
            node.sources += self._sources(node, ended, reading)

    def _sources(
        self,
        node: Node,
        ended: TokenSequence,
        reading: PrefixReading,
    ) -> list[TokenSource]:
        """Return the tokens that may come after token sequences that end at a node."""
        index = self._index(node)
        p_V = reading.p_V if self._cutoffs.reachable else None
        return [
            TokenSource(
                ended.weight,
                index,
                reading.sums(index.ids_E),
                len(node.text),
                ended.ids,
                p_V,
            )
        ]

    def _fits(self, node: Node, rest: bytes) -> bool:
        """Return whether token sequences end at a node, not yet read, that may continue with this text."""
        return bool(node.ended) and self._index(node).fits(rest)

    def _index(self, node: Node) -> EntryIndex:
        """Return the entries that continue a node."""
        return self._texts.after(self._before + node.text.decode("utf-8", "ignore"))

    def next_bytes(self, node: Node) -> np.ndarray:
        """Return the probability of the text followed by each of the 256 bytes; the node must be extended."""
        mass_C = np.zeros(256)
        for source in node.sources:
            bytes_G, bounds = source.index.split(node.text[source.start :])
            if len(bytes_G):
                mass_C[bytes_G] += source.among(bounds)
        return mass_C

    def ends(self, node: Node) -> float:
        """Return the probability that the review ends after the text; the node must be extended."""
        readings = self._reader([read.ids for read in node.read])
        return sum(
            read.weight * float(one.p_V[EOS]) for read, one in zip(node.read, readings, strict=True)
        )

    def finished(self, node: Node) -> float:
        """Return the probability that the word at the end of the text is finished; the node must be extended."""
        readings = self._reader([read.ids for read in node.read])
        parts_E = self._texts.word_parts
        after = zip(node.read, readings, strict=True)
        return sum(read.weight * float(1 - reading.p_V[parts_E].sum()) for read, reading in after)

    def child(
        self,
        node: Node,
        byte: int,
        whole: float = 0.0,
    ) -> Node | None:
        """Return the node of the text and one more byte, or None if no token sequence covers it.

        Args:
            node: The text.
            byte: What follows.
            whole: Probability of which `Cutoffs.sequence` is a share; default: that of the node returned.
        """
        text = node.text + bytes([byte])
        child = Node(text, 0.0)
        for source in node.sources:
            rest = text[source.start :]
            low, high, _ = source.index.place(rest)
            mass = source.between(low, high) if high > low else 0.0
            if mass > 0:
                child.mass += mass
                child.sources.append(source)

        ends: list[SequenceEnd] = []
        for source in child.sources:
            low, _, longer = source.index.place(text[source.start :])
            ends += [
                SequenceEnd(source.between(place, place + 1), source, place)
                for place in range(low, longer)
            ]

        for end in self._keep_likely(ends, self._cutoffs.sequence * (whole or child.mass)):
            self._end(child, end)

        return child if child.mass > 0 else None

    def _keep_likely(self, ends: list[SequenceEnd], least: float) -> list[SequenceEnd]:
        """Return the ends that are probable enough, and the best one; see `Cutoffs.reachable`."""
        likely = [end for end in ends if end.weight > least]
        best = None
        if self._cutoffs.reachable:
            best = max(ends, key=lambda end: end.weight, default=None)

        if best is not None and not likely and best.weight > 0:
            return [best]
        return likely

    def _end(self, node: Node, end: SequenceEnd) -> None:
        """Add a token sequence that ends at a node."""
        last = int(end.source.index.ids_E[end.place])
        node.ended.append(TokenSequence((*end.source.ids, last), end.weight))


class EntryIndex:
    """Entries sorted by their text in UTF-8.

    Args:
        texts: Text of each entry, not empty.
        ids: Number of each entry.

    Attributes:
        texts: The texts, sorted.
        ids_E: Their numbers.
    """

    def __init__(self, texts: Sequence[bytes], ids: Sequence[int]) -> None:
        order = sorted(range(len(texts)), key=texts.__getitem__)
        self.texts = [texts[place] for place in order]
        self.ids_E = np.array([ids[place] for place in order], np.int64)
        self.place = lru_cache(maxsize=1 << 16)(self._place)
        self.split = lru_cache(maxsize=1 << 14)(self._split)

    def _place(self, beginning: bytes) -> tuple[int, int, int]:
        """Return the range of the entries that begin so, and where those that are longer begin."""
        low = bisect_left(self.texts, beginning)
        length = len(beginning)
        high = bisect_right(self.texts, beginning, lo=low, key=lambda text: text[:length])
        return low, high, bisect_right(self.texts, beginning, lo=low, hi=high)

    def beginning_with(self, beginning: bytes) -> np.ndarray:
        """Return the numbers of the entries that begin so, shorter and longer ones."""
        low, high, _ = self.place(beginning)
        return self.ids_E[low:high]

    def _split(self, beginning: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Return the bytes that follow this beginning in longer entries (G), and the bounds of their ranges (G + 1)."""
        _, high, low = self.place(beginning)
        depth = len(beginning)
        next_E = np.array([text[depth] for text in self.texts[low:high]], np.uint8)
        if len(next_E):
            firsts = np.flatnonzero(np.diff(next_E, prepend=-1))
        else:
            firsts = np.zeros(0, np.int64)

        return next_E[firsts], np.concatenate([low + firsts, [high]]).astype(np.int64)

    def fits(self, text: bytes) -> bool:
        """Return whether an entry begins with this text, or this text with an entry."""
        low, high, _ = self.place(text)
        return high > low or any(self._has(text[:end]) for end in range(1, len(text)))

    def _has(self, text: bytes) -> bool:
        place = bisect_left(self.texts, text)
        return place < len(self.texts) and self.texts[place] == text


class Texts:
    """The indexes of one vocabulary. Words look different after a space or at the start of a sentence.

    Args:
        vocabulary: Any vocabulary.

    Attributes:
        word_parts: Ids of the entries that continue a word.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._indexes: dict[Hashable, EntryIndex] = {}
        self.word_parts = np.flatnonzero(vocabulary.word_part_V)

    def after(self, text: str) -> EntryIndex:
        """Return the entries as they continue a text."""
        place = self._vocabulary.place(text)
        if place not in self._indexes:
            texts = self._vocabulary.texts_after(text)
            self._indexes[place] = EntryIndex(texts, range(FIRST, FIRST + len(texts)))
        return self._indexes[place]


@lru_cache(maxsize=8)
def texts_of(vocabulary: Vocabulary) -> Texts:
    """Return the indexes of a vocabulary, the same for each call: building one takes some hundredths of a second."""
    return Texts(vocabulary)
