"""Cut a text into blocks, and deal the windows of a block to the partitions of their contexts.

A window ends at a predicted token and reaches back N tokens, or to the begin of its document. It is stored backwards:
place 0 has the predicted token, place 1 the last word of its context, and so on; a code is id + 1, and 0 before the
document. So the n-grams of all orders that end at a token are the beginnings of one window.

The last word of the context decides the partition. All n-grams with one context, and all that differ only in words
before that context, are then in the same one: adjusted counts, discounts and back-off weights need no other partition
(`counted.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from reviewlm.models.ngram.lookup import word_type
from reviewlm.training.ngram.counting.counts import Documents, ids_from_begin

MOST_PARTS = 1_024
"""Largest number of blocks, and of partitions: each block sends each partition an object."""


class TextBlock(NamedTuple):
    """Some neighbouring documents of a text.

    Args:
        ids: Their ids, one document after another.
        offsets: Where each document begins, and the end; the first one is 0.
        sources: Number of each document's author, or of the document itself (D,); None if nobody counts them.
    """

    ids: np.ndarray
    offsets: np.ndarray
    sources: np.ndarray | None = None


class WordTotals(NamedTuple):
    """How often words occur in a block or a text.

    Args:
        raw_V: Occurrences of each id as a predicted token; int64.
        contexts_V: Windows whose context ends with each id; int64.
    """

    raw_V: np.ndarray
    contexts_V: np.ndarray

    def __add__(self, other: object) -> WordTotals:
        """Return the sums for two texts."""
        if not isinstance(other, WordTotals):
            return NotImplemented
        return WordTotals(self.raw_V + other.raw_V, self.contexts_V + other.contexts_V)


class Windows(NamedTuple):
    """Windows of one partition.

    Args:
        code_NP: Codes from the last token backwards, 0 before the document; an unsigned type.
        source_P: Author or document of each window; empty if nobody counts them.
    """

    code_NP: np.ndarray
    source_P: np.ndarray


def text_blocks(
    documents: Documents,
    most: int,
    authors_D: np.ndarray | None = None,
    counted: bool = False,
) -> Iterator[TextBlock]:
    """Yield a text in blocks of whole documents with about *most* tokens each (more if one document has more).

    A text without documents is one block.

    Args:
        authors_D: Number of each document's author (D,); None: documents count themselves.
        counted: Whether somebody counts the documents of an n-gram.
    """
    offsets = np.asarray(documents.offsets)
    documents_in_all = len(offsets) - 1
    first = 0
    last = -1
    while last < documents_in_all:
        room = int(offsets[first]) + most
        last = max(int(np.searchsorted(offsets, room, side="right")) - 1, first + 1)
        last = min(last, documents_in_all)
        begin = int(offsets[first])
        end = int(offsets[last])
        sources = None
        if counted:
            if authors_D is None:
                sources = np.arange(first, last)
            else:
                sources = authors_D[first:last]

        yield TextBlock(
            np.asarray(documents.ids[begin:end]), offsets[first : last + 1] - begin, sources
        )
        first = last


def word_ranges(numbers_V: np.ndarray, most: int) -> np.ndarray:
    """Cut the vocabulary into ranges of words with about *most* windows each (more if one word has more).

    Returns:
        First id of every range, and V; (ranges + 1,) int64.
    """
    before_V = np.append(0, np.cumsum(numbers_V))
    size = len(numbers_V)
    edges = [0]
    while edges[-1] < size:
        room = before_V[edges[-1]] + most
        edges.append(max(int(np.searchsorted(before_V, room, side="right")) - 1, edges[-1] + 1))

    return np.array(edges)


def sum_words(block: TextBlock, given_V: np.ndarray) -> WordTotals:
    """Return how often the words of a block occur.

    Raises:
        ModelError: An id is out of range, or a document does not begin with a given token; kind "input".
    """
    ids_T = ids_from_begin(block, given_V)
    size = len(given_V)
    word_T = ids_T[1:]
    before_T = ids_T[:-1]
    predicted_T = ~given_V[word_T]
    raw_V = np.bincount(word_T[predicted_T], minlength=size)
    contexts_V = np.bincount(before_T[predicted_T], minlength=size)
    return WordTotals(raw_V, contexts_V)


def deal(
    block: TextBlock,
    given_V: np.ndarray,
    order: int,
    edges: np.ndarray,
) -> Sequence[Windows]:
    """Return the windows of a block for each partition, in the order of the text.

    Args:
        given_V: Which ids are begin tokens.
        order: N, at least 2.
        edges: First word of every partition, and V (`word_ranges`).
    """
    ids_T = ids_from_begin(block, given_V)
    begins_T = given_V[ids_T]
    at_P = np.flatnonzero(~begins_T)
    parts = len(edges) - 1
    part_V = np.repeat(np.arange(parts, dtype=np.uint16), np.diff(edges))
    part_P = part_V.take(ids_T.take(at_P - 1))
    order_P = np.argsort(part_P, kind="stable")
    at_P = at_P.take(order_P)
    ends = np.cumsum(np.bincount(part_P, minlength=parts))

    source_P = np.zeros(0, np.int64)
    if block.sources is not None:
        document_T = np.cumsum(begins_T) - 1
        source_P = block.sources.take(document_T.take(at_P))

    code_NP = _codes(
        ids_T,
        begins_T,
        at_P,
        order,
        word_type(len(given_V) + 1),
    )
    dealt = []
    first = 0
    for last in ends.tolist():
        codes = np.ascontiguousarray(code_NP[:, first:last])
        dealt.append(Windows(codes, source_P[first:last].copy()))
        first = last

    return dealt


def _codes(
    ids_T: np.ndarray,
    begins_T: np.ndarray,
    at_P: np.ndarray,
    order: int,
    kind: type,
) -> np.ndarray:
    """Return the codes of the windows that end at some positions, backwards; (N, P)."""
    code_NP: np.ndarray = np.zeros((order, len(at_P)), kind)
    inside_P = np.ones(len(at_P), bool)
    for place in range(order):
        place_P = np.maximum(at_P - place, 0)
        np.add(
            ids_T.take(place_P),
            1,
            out=code_NP[place],
            where=inside_P,
            casting="unsafe",
        )
        inside_P &= ~begins_T.take(place_P)

    return code_NP
