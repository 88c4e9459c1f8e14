"""Count n-grams: every window of 1, 2, … N tokens inside one document.

A document is `[begin, w1 … wn, end]`, where begin is a token that is given and never predicted (a star token, or `<s>`
in a text of lines). No n-gram ends with the begin token and none crosses a document. So an order counts exactly the
positions with enough history, and order 1 counts the predicted tokens.

All windows of N tokens are sorted once, and the n-grams of every order are read from them, each with a link to its
suffix (`window_counts.py`), so that the estimators can sum with one `bincount`.
Within a memory limit, text and counts are in temporary files, and memory holds what is worked on at a time.

Documents are read block by block, so that they too may be in a file that is larger than memory.

Shapes: T tokens, V vocabulary entries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np

from reviewlm.models.atomic_files import let_go
from reviewlm.models.base import ModelError
from reviewlm.models.ngram.lookup import NONE, Followers, follow
from reviewlm.training.ngram.counting.memory import (
    BLOCK,
    IN_MEMORY,
    ArrayAllocator,
    blocks,
    memory_plan,
)
from reviewlm.training.ngram.counting.window_counts import (
    DocumentLimit,
    TextInBlocks,
    count_windows,
    number_type,
)
from reviewlm.training.ngram.engine import ShardEngine, Threads

MOST_ORDERS = 255


class Documents(Protocol):
    """Documents one after another: document i is `ids[offsets[i]:offsets[i + 1]]`."""

    @property
    def ids(self) -> np.ndarray:
        """Token ids; (T,)."""
        ...

    @property
    def offsets(self) -> np.ndarray:
        """Where each document begins, and the end; (D + 1,)."""
        ...


def mask(given: Collection[int], vocabulary_size: int) -> np.ndarray:
    """Return which ids are given; (V,) bool."""
    given_V = np.zeros(vocabulary_size, bool)
    given_V[list(given)] = True
    return given_V


def ids_from_begin(
    documents: Documents,
    given_V: np.ndarray,
    allocator: ArrayAllocator = IN_MEMORY,
) -> np.ndarray:
    """Return all documents one after another, each from its last leading given token on (without `<bos>`); int32."""
    ids_T = np.asarray(documents.ids)
    offsets = np.asarray(documents.offsets)
    document = 0
    for part in blocks(len(ids_T)):
        ids_B = ids_T[part]
        if not 0 <= int(ids_B.min()) <= int(ids_B.max()) < len(given_V):
            span = f"{ids_T.min()} to {ids_T.max()}"
            raise ModelError(
                f"token ids from {span}; the vocabulary has {len(given_V)}", kind="input"
            )
        while document < len(offsets) and offsets[document] < part.stop:
            first_P = offsets[document : document + BLOCK]
            first_P = first_P[: np.searchsorted(first_P, part.stop)]
            if not given_V[ids_B[first_P - part.start]].all():
                raise ModelError(
                    "a document does not begin with a given token (a star token, <s>)", kind="input"
                )
            document += len(first_P)
            let_go(offsets)
        let_go(ids_T)

    return _without_leading(ids_T, given_V, allocator)


def _without_leading(
    ids_T: np.ndarray,
    given_V: np.ndarray,
    allocator: ArrayAllocator,
) -> np.ndarray:
    """Drop the given tokens before another one, and at the end of the text."""
    later_ids = allocator.growing(np.int32)
    for part in blocks(len(ids_T)):
        given_B = given_V[ids_T[part.start : part.stop + 1]]
        if part.stop < len(ids_T):
            next_B = given_B[1:]
        else:
            next_B = np.append(given_B[1:], True)

        later_ids.append(ids_T[part][~(given_B[: len(next_B)] & next_B)])
        let_go(ids_T)
    unchanged = later_ids.length == len(ids_T) and ids_T.dtype == np.int32
    if unchanged:
        return ids_T
    return later_ids.finish()


def occurrences(ids_T: np.ndarray, given_V: np.ndarray) -> np.ndarray:
    """Return how often each id occurs, 0 for those that are never predicted; (V,) int64."""
    raw_V = np.zeros(len(given_V), np.int64)
    for part in blocks(len(ids_T)):
        raw_V += np.bincount(ids_T[part], minlength=len(given_V))
        let_go(ids_T)
    raw_V[given_V] = 0
    return raw_V


def begins(
    ids_T: np.ndarray,
    given_V: np.ndarray,
    allocator: ArrayAllocator = IN_MEMORY,
) -> np.ndarray:
    """Return the position of each document's begin token, ascending; (D,) integers."""
    growing = allocator.growing(number_type(len(ids_T)))
    for part in blocks(len(ids_T)):
        growing.append(np.flatnonzero(given_V[ids_T[part]]) + part.start)
        let_go(ids_T)
    return growing.finish()


@dataclass
class OrderCounts:
    """The M distinct n-grams of one order, sorted by context and last word; the row number is the n-gram's id.

    Args:
        followers: Last words, and where each context's n-grams are; None at order 1, where all V ids have a row, also
            unseen ones, and the row is the id.
        raw_M: Occurrences, c(g); 32 bits if they are enough.
        suffix_M: Row, at the order below, of the n-gram without its first word; 32 bits if they are enough; empty at
            order 1.
        begins_M: Whether the n-gram begins with a begin token.
        widespread_M: Whether the n-gram occurs in at least `min_documents` documents; None if this was not counted.
    """

    followers: Followers | None
    raw_M: np.ndarray
    suffix_M: np.ndarray
    begins_M: np.ndarray
    widespread_M: np.ndarray | None

    def __len__(self) -> int:
        return len(self.raw_M if self.followers is None else self.followers)

    def give_up(self) -> None:
        """Give up all but the followers, which the tables have too, for an estimation that needs the memory."""
        self.raw_M = self.suffix_M = self.begins_M = np.zeros(0, np.int32)


@dataclass(frozen=True)
class NGramCounts:
    """The counts of all orders 1 … N; `orders[k - 1]` is order k; *allocator* is the allocator of their arrays."""

    orders: tuple[OrderCounts, ...]
    vocabulary_size: int
    given: tuple[int, ...]
    allocator: ArrayAllocator = field(
        default_factory=ArrayAllocator,
        repr=False,
        compare=False,
    )

    @property
    def order(self) -> int:
        """Length N of the longest n-gram."""
        return len(self.orders)

    @property
    def predictable(self) -> int:
        """Number of ids that can be predicted: the vocabulary without the given ones."""
        return self.vocabulary_size - len(self.given)

    @cached_property
    def open_rows(self) -> tuple[int, ...]:
        """Per order, the row of the n-gram that `lmplz` has not finished when its stream ends; NONE if there is none.

        It is the greatest one read backwards (see `kenlm_exact` of `kneser_ney.counts_of_counts`).
        """
        rows = [int(np.flatnonzero(self.orders[0].raw_M).max(initial=NONE))]
        for below, entry in pairwise(self.orders):
            row = NONE
            if rows[-1] != NONE and not below.begins_M[rows[-1]]:
                for part in blocks(len(entry)):  # the last one has the greatest first word
                    at = np.flatnonzero(entry.suffix_M[part] == rows[-1])
                    if len(at):
                        row = part.start + int(at[-1])

                    self.allocator.release()
            rows.append(row)

        return tuple(rows)

    def context(self, order: int) -> np.ndarray:
        """Return the row, at the order below, of every n-gram's context; (M,) int64; 0 (empty context) at order 1."""
        followers = self.orders[order - 1].followers
        if followers is None:
            return np.zeros(self.vocabulary_size, np.int64)
        return followers.contexts()


def count_ngrams(
    documents: Documents,
    order: int,
    vocabulary_size: int,
    given: Collection[int],
    allocator: ArrayAllocator = IN_MEMORY,
    threads: int | None = None,
    engine: ShardEngine | None = None,
    min_documents: int = 1,
    authors_D: np.ndarray | None = None,
) -> NGramCounts:
    """Count all n-grams of 1 to *order* tokens.

    Args:
        documents: Token ids and document offsets. A document begins with one or more given ids; the last of them is
            its begin token, those before it (`<bos>`) are not counted.
        order: N.
        vocabulary_size: V; ids are 0 … V − 1.
        given: Ids that are never predicted.
        allocator: Allocator of the arrays; with a memory limit they are in temporary files, with the same values.
        threads: Number of threads; None for `threads.THREADS`.
        engine: Executor of the shards instead of threads.
        min_documents: With 2 or more, tell which n-grams of two or more tokens occur in at least this many documents.
        authors_D: Number of each document's author, 0 or more: all documents of one author count as one. None: every
            document counts.

    Raises:
        ModelError: The order is out of range, one word occurs too often, an id is out of range, or a document does not
            begin with a given token; the limit is too low for this text, or the disk has no space for the files; the
            engine failed.
    """
    if not 1 <= order <= MOST_ORDERS:
        raise ModelError(
            f"order is {order}; it must be at least 1 and at most {MOST_ORDERS}", kind="input"
        )
    given_V = mask(given, vocabulary_size)
    ids_T = ids_from_begin(documents, given_V, allocator)
    raw_V = occurrences(ids_T, given_V)
    # All documents may begin with one token.
    most_frequent = max(int(raw_V.max(initial=0)), len(documents.offsets) - 1)
    plan = memory_plan(
        order,
        vocabulary_size,
        most_frequent,
        allocator,
        threads,
    )
    raw_V = raw_V.astype(number_type(most_frequent))
    orders = [
        OrderCounts(
            None,
            raw_V,
            np.zeros(0, np.int32),
            given_V,
            None,
        )
    ]
    if order == 1:
        return NGramCounts(tuple(orders), vocabulary_size, tuple(sorted(given)))

    engine = engine or Threads(plan.threads)
    limit = None
    if min_documents > 1:
        limit = DocumentLimit(min_documents, begins(ids_T, given_V, allocator), authors_D)

    # If the caller has given them up, too, the links of the n-grams have their memory.
    del documents
    text = [TextInBlocks(ids_T, given_V, order, plan.windows)]
    del ids_T
    for followers, rows, suffix_M in count_windows(text.pop(), plan, engine, limit):
        widespread_M = rows.widespread_M if limit else None
        orders.append(
            OrderCounts(
                followers,
                rows.raw_M,
                suffix_M,
                rows.begins_M,
                widespread_M,
            )
        )

    return NGramCounts(tuple(orders), vocabulary_size, tuple(sorted(given)), allocator)


def unseen_share(counts: NGramCounts, held_out: Documents) -> dict[int, float]:
    """Return, per order, the share of held-out tokens whose n-gram never occurred in training.

    The n-gram of a token is the token and the k − 1 tokens before it, cut at the document's begin. Every order has the
    same denominator (all predicted tokens), so the share can only rise with the order: the sparsity problem.

    Raises:
        ModelError: The held-out documents are empty, or have ids outside the vocabulary; kind "input".
    """
    given_V = mask(counts.given, counts.vocabulary_size)
    ids_T = ids_from_begin(held_out, given_V)
    begin_T = given_V[ids_T]
    tokens = int((~begin_T).sum())
    if tokens == 0:
        raise ModelError("there are no held-out tokens", kind="input")

    return {
        order: int(unseen_T[~begin_T].sum()) / tokens
        for order, unseen_T in _unseen_by_order(counts, ids_T, begin_T)
    }


def _unseen_by_order(
    counts: NGramCounts,
    ids_T: np.ndarray,
    begin_T: np.ndarray,
) -> Iterator[tuple[int, np.ndarray]]:
    unseen_T = counts.orders[0].raw_M[ids_T] == 0
    yield 1, unseen_T
    room_T = ~begin_T
    longer = [entry.followers for entry in counts.orders if entry.followers is not None]
    # No n-gram has a begin token after its first place, so no n-gram is found across documents.
    for order, row_T in enumerate(follow(ids_T, longer), start=2):
        # room_T: whether the window of this order begins inside the document
        unseen_T = unseen_T | (room_T & (row_T == NONE))
        room_T = room_T & np.append(False, room_T[:-1])
        yield order, unseen_T
