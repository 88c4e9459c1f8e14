"""Finding n-grams by number: an n-gram is its context's row and its last word, packed into one integer.

Order by order, every n-gram that was seen has a row. The n-gram `h w` of order k has the key `row(h) · V + w`, where
row(h) is the row of its context h at order k − 1 (at order 1 the row is the word's id itself). Keys are sorted, so the
followers of one context lie side by side and a binary search finds any n-gram; no strings, no dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

NONE = -1
"""Row of an n-gram that was never seen, and id of "no token here"."""

_SORTING_PAYS = 512


def find(keys_M: np.ndarray, wanted_Q: np.ndarray) -> np.ndarray:
    """Return the row of each wanted key among the sorted *keys_M*, NONE where it is absent; (Q,) int64.

    Many queries are sorted first: neighbouring searches then touch neighbouring memory, which is what makes a binary
    search in tens of millions of keys fast.
    """
    rows_Q = np.full(len(wanted_Q), NONE, np.int64)
    if len(keys_M) == 0 or len(wanted_Q) == 0:
        return rows_Q
    if len(wanted_Q) < _SORTING_PAYS:
        at_Q = np.minimum(np.searchsorted(keys_M, wanted_Q), len(keys_M) - 1)
        return np.where(keys_M[at_Q] == wanted_Q, at_Q, rows_Q)
    order_Q = np.argsort(wanted_Q)
    sorted_Q = wanted_Q[order_Q]
    at_Q = np.minimum(np.searchsorted(keys_M, sorted_Q), len(keys_M) - 1)
    found_Q = keys_M[at_Q] == sorted_Q
    rows_Q[order_Q[found_Q]] = at_Q[found_Q]
    return rows_Q


def walk(
    ids_BL: np.ndarray, keys: Sequence[np.ndarray], vocabulary_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Follow B token sequences through the tables, one order after another, from order 2 on.

    Args:
        ids_BL: Token ids; NONE stands for "no token".
        keys: Sorted keys of orders 2, 3, …

    Yields:
        For each order k: context_BL, the row of the (k−1)-gram that ends just before a position, and row_BL, the row
        of the k-gram that ends at it; NONE where it was never seen. Nothing counted crosses a document's begin,
        so chains of rows end there by themselves.
    """
    ids_BL = ids_BL.astype(np.int64, copy=False)
    row_BL = ids_BL
    for keys_M in keys:
        context_BL = np.full_like(row_BL, NONE)
        context_BL[:, 1:] = row_BL[:, :-1]
        # An n-gram can only have been seen if both its context and its suffix were.
        possible = np.flatnonzero((context_BL >= 0) & (row_BL >= 0))
        wanted = context_BL.ravel()[possible] * vocabulary_size + ids_BL.ravel()[possible]
        row_BL = np.full_like(row_BL, NONE)
        row_BL.ravel()[possible] = find(keys_M, wanted)
        yield context_BL, row_BL
