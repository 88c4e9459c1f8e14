"""Compile the look-ups of single steps and short texts with numba, where numpy's calls cost more than the work itself.

`tables.py` imports this module where it pays. A sentence is read from its bytes to its log p in one call: its
words are looked up here too. All kernels that call each other are in this
file, because numba compiles a cached one again only if its own file has changed.

Shapes: B streams (U with different contexts), T tokens of each, V vocabulary entries, M n-grams of an order, C their
contexts; K = N − 1; R places for the tokens of a sentence, S slots of a hash table. *tables*: `Packed.address`;
*words*: `WordTable.address`. Both objects must stay alive during the call.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..compiled import address_of, byte_at, float32_at, float64_at, int64_at, kernel, uint16_at, uint32_at
from .lookup import NONE, SHORT

BASIS, PRIME = 0xCBF29CE484222325 - (1 << 64), 0x100000001B3
"""Of the hash FNV-1a with 64 bits, as signed numbers: their products wrap in the same way."""
SPACE, LINE_FEED = 32, 10
BLANKS = 1 << SPACE | 1 << LINE_FEED | 1 << 13 | 1 << 9 | 1
"""Bit b: whether byte b is a blank (`text_corpus.BLANKS` and the space)."""


def contexts_of(context_UK: np.ndarray, packed: Any) -> list[np.ndarray]:
    """Return the row of the n-gram of the last 1, 2, … K tokens of each stream, each (U,) int64; NONE: never seen.

    Args:
        context_UK: The last K token ids (int64), the newest last; NONE: no token.
        packed: `Tables.packed`.
    """
    row_UK = np.empty(context_UK.shape, np.int64)
    read_streams(np.ascontiguousarray(context_UK), packed.address, row_UK, np.empty(context_UK.shape))
    return list(row_UK.T)


def log_probabilities(ids_BT: np.ndarray, packed: Any) -> np.ndarray:
    """Return log p of every token after the tokens before it in its row, (B, T) float64; 0 where there is no token.

    It is equal to that of `lookup.log_probabilities` to the bit.
    """
    logp_BT, row_BK = np.empty(ids_BT.shape), np.empty((len(ids_BT), packed.order - 1), np.int64)
    read_streams(np.ascontiguousarray(ids_BT, np.int64), packed.address, row_BK, logp_BT)
    return logp_BT


@partial(kernel, fast=False)
def read_streams(ids_BT: Any, tables: Any, row_BK: Any, logp_BT: Any) -> None:
    """Read the tokens of streams after none; write log p of each token, and the state of each stream after them."""
    length_T, row_T = np.empty(ids_BT.shape[1], np.int64), np.empty(ids_BT.shape[1], np.int64)
    for b in range(len(ids_BT)):
        for k in range(row_BK.shape[1]):
            row_BK[b, k] = NONE
        read(ids_BT[b], row_BK[b], tables, logp_BT[b], length_T, row_T)


@partial(kernel, fast=False)
def read(ids_T: Any, row_K: Any, tables: Any, logp_T: Any, length_T: Any, row_T: Any) -> None:
    """Read tokens after a state, and write log p of each with the length of the n-gram that it comes from.

    The order of additions is that of `lookup.log_probabilities`.

    Args:
        ids_T: Token ids (int64); NONE: no token, and no n-gram crosses it.
        row_K: The state: the rows of the n-grams of the last 1, 2, … K tokens; NONE: never seen. It becomes the state
            after the last token.
        tables: Address of the arrays of each order (`Packed`).
        logp_T, length_T: The results; 0 where there is no token.
        row_T: Room, for the row of the n-gram of k + 1 tokens that ends at each token.
    """
    T, K = len(ids_T), len(row_K)
    for t in range(T):
        row_T[t], logp_T[t], length_T[t] = ids_T[t], 0.0, 0
    for k in range(K + 1):
        at = tables + 8 * (1 + 12 * k)
        words, word_bytes, M = int64_at(at, 0), int64_at(at, 1), int64_at(at, 2)
        firsts, first_bytes = int64_at(at, 3), int64_at(at, 4)
        logps, logp_bytes, backoffs, backoff_bytes = (
            int64_at(at, 6), int64_at(at, 7), int64_at(at, 9), int64_at(at, 10)
        )  # fmt: skip
        context: Any = row_K[k] if k < K else NONE  # the row of the n-gram of k + 1 tokens before the token
        for t in range(T):
            row, word = row_T[t], ids_T[t]
            longer: Any = NONE
            if context >= 0 and row >= 0:
                first, end = whole_at(firsts, first_bytes, context), whole_at(firsts, first_bytes, context + 1)
                longer = row_of(words, word_bytes, M, first, end, word)
            if longer < 0:
                if row >= 0:
                    logp_T[t] = real_at(logps, logp_bytes, row)
                    length_T[t] = k + 1
                if context >= 0 and word >= 0:
                    logp_T[t] += real_at(backoffs, backoff_bytes, context)
            row_T[t] = longer
            context = row if k < K else NONE
        if k < K:
            row_K[k] = context


@partial(kernel, fast=False)
def row_of(words: Any, word_bytes: Any, M: Any, first: Any, end: Any, word: Any) -> Any:
    """Return the row of a word among the followers of a context, which are the rows *first* … *end* − 1, or NONE.

    The words of a context ascend, so at most w of them are below w: a frequent word has few candidates. Offsets of a
    damaged file may lie outside the rows.
    """
    row, end = max(first, 0), min(end, M)
    number = min(end - row, word + 1)
    while number > 1:
        half = number >> 1
        row += half * (whole_at(words, word_bytes, row + half) <= word)  # no branch, which would be foretold wrongly
        number -= half
    return row if number > 0 and whole_at(words, word_bytes, row) == word else NONE


@partial(kernel, fast=False)
def whole_at(address: Any, width: Any, index: Any) -> Any:
    """Return a whole number of an array whose entries have so many bytes."""
    if width == 2:
        return uint16_at(address, index)
    return uint32_at(address, index) if width == 4 else int64_at(address, index)


@partial(kernel, fast=False)
def real_at(address: Any, width: Any, index: Any) -> Any:
    """Return a real number of an array whose entries have so many bytes."""
    return float32_at(address, index) if width == 4 else float64_at(address, index)


@partial(kernel, fast=False, nogil=False)
def sentence(text: Any, tables: Any, words: Any) -> Any:
    """Return Σ log p of the words of a sentence and of its end, added from the first to the last; NaN: not read.

    Args:
        text: The sentence in UTF-8: bytes, which numba unpacks in 0.1 µs; a str takes it 1.2.
    """
    R = min(len(text) // 2 + 2, SHORT)
    logp_R, number_3R = np.empty(R), np.empty((3, R), np.int64)
    T = read_sentence(text, tables, words, logp_R, number_3R)
    if T < 0:
        return np.nan
    total = 0.0
    for t in range(T):
        total += logp_R[t]
    return total


@partial(kernel, fast=False, nogil=False)
def sentence_scores(text: Any, tables: Any, words: Any) -> Any:
    """Return (log p, length of its n-gram, whether it is unknown) of each word and of the end; none: not read."""
    R = min(len(text) // 2 + 2, SHORT)
    logp_R, number_3R = np.empty(R), np.empty((3, R), np.int64)
    T, unknown = read_sentence(text, tables, words, logp_R, number_3R), int64_at(words, 4)
    return [(logp_R[t], number_3R[1, t], number_3R[0, t] == unknown) for t in range(T)]


@partial(kernel, fast=False, nogil=False)
def read_sentence(text: Any, tables: Any, words: Any, logp_R: Any, number_3R: Any) -> Any:
    """Write log p of the words of a sentence and of its end, then their ids and the lengths of their n-grams.

    Return their number T; NONE: it is above R, or the mark of a begin or an end is in the text.
    """
    T = read_words(address_of(text), len(text), words, number_3R[0])
    if T > 0:
        row_K = np.empty(int64_at(tables, 0) - 1, np.int64)
        for k in range(len(row_K)):
            row_K[k] = NONE if k else int64_at(words, 5)
        read(number_3R[0][:T], row_K, tables, logp_R[:T], number_3R[1][:T], number_3R[2][:T])
    return T


@partial(kernel, fast=False)
def read_words(text: Any, size: Any, words: Any, ids_R: Any) -> Any:
    """Write the ids of the words between blanks and of the end; return their number, or NONE (see `read_sentence`).

    Args:
        text, size: Address and number of bytes of the text.
    """
    slots, V, unknown, end = int64_at(words, 0), int64_at(words, 3), int64_at(words, 4), int64_at(words, 6)
    T, at = 0, 0
    while True:
        while at < size and is_blank(byte_at(text, at)):
            at += 1
        if at >= size:
            ids_R[T] = end
            return T + 1
        if len(ids_R) - 1 == T:
            return NONE
        begin, number = at, BASIS
        while at < size and not is_blank(byte_at(text, at)):
            number = (number ^ byte_at(text, at)) * PRIME
            at += 1
        place = int64_at(slots, 2 * slot_of(text, begin, at, number, words) + 1)
        word = unknown if place < 0 else place & 0xFFFFFFFF
        if word > V:
            return NONE
        ids_R[T] = unknown if word == V else word
        T += 1


@partial(kernel, fast=False)
def is_blank(byte: Any) -> Any:
    """Return whether a byte is between words."""
    return byte <= SPACE and (BLANKS >> byte) & 1 == 1


@partial(kernel, fast=False)
def slot_of(text: Any, begin: Any, end: Any, number: Any, words: Any) -> Any:
    """Return the slot of the word text[begin : end], whose hash is *number*, or the free slot where it would be."""
    slots, mask, spelt = int64_at(words, 0), int64_at(words, 1), int64_at(words, 2)
    slot = (number ^ (number >> 32)) & mask
    while True:
        place = int64_at(slots, 2 * slot + 1)
        if place < 0:
            return slot
        if int64_at(slots, 2 * slot) == number:
            stored, at = (place >> 32) - begin, begin
            while at < end and byte_at(spelt, stored + at) == byte_at(text, at):  # at the latest the line feed differs
                at += 1
            if at == end and byte_at(spelt, stored + at) == LINE_FEED:
                return slot
        slot = (slot + 1) & mask


@partial(kernel, fast=False)
def fill_words(text: Any, size: Any, words: Any, slot_S2: Any) -> None:
    """Put the lines of a text into the slots of a hash table: hash, place in the text and number of each line.

    Of lines that are equal the last one counts.
    """
    word, begin, number = 0, 0, BASIS
    for at in range(size):
        byte = byte_at(text, at)
        if byte == LINE_FEED:
            slot = slot_of(text, begin, at, number, words)
            slot_S2[slot, 0], slot_S2[slot, 1] = number, begin << 32 | word
            word, begin, number = word + 1, at + 1, BASIS
        else:
            number = (number ^ byte) * PRIME


@partial(kernel, fast=False)
def write_followers(
    out_UV: Any, context_U: Any, first_C: Any, word_M: Any, logp_M: Any, backoff_U: Any
) -> bool:
    """Do the same as `lookup.write_followers`: nothing is written outside *out_UV*, whatever the files hold."""
    V, M = out_UV.shape[1], len(word_M)
    for u in range(len(context_U)):
        if context_U[u] >= 0:
            first: Any = np.int64(first_C[context_U[u]])
            end: Any = np.int64(first_C[context_U[u] + 1])
            for row in range(max(first, 0), min(end, M)):
                word = np.int64(word_M[row])
                if word >= V:
                    return False
                out_UV[u, word] = logp_M[row] + backoff_U[u]
    return True
