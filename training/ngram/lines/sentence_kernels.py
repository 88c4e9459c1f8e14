"""Compile the scoring of a sentence with numba: from its bytes to its log p in one call, its words looked up too.

Shapes: T tokens, V vocabulary entries, K = N − 1; R places for the tokens of a sentence, S slots of a hash table.
*tables*: `Packed.address`; *words*: `WordTable.address`, whose seven numbers that class lists in their order. Both
objects must stay alive during the call.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import typeof, types

from reviewlm.models.compiled import address_of, byte_at, int64_at, kernel
from reviewlm.models.ngram.lookup import NONE
from reviewlm.models.ngram.step_kernels import read

BASIS = 0xCBF29CE484222325 - (1 << 64)
"""First value of the hash FNV-1a with 64 bits, as a signed number: products wrap in the same way."""
PRIME = 0x100000001B3
"""Factor of the hash FNV-1a."""
SPACE = 32
LINE_FEED = 10
BLANKS = sum(1 << ord(blank) for blank in " \n\r\t\0")
"""Bit b: whether byte b is a blank (`text_corpus.BLANKS` and the space)."""


def functions() -> tuple[Any, Any]:
    """Return `sentence` and `sentence_word_scores` without numba's dispatcher, which takes 0.4 µs a call to find them."""
    given = typeof(b""), types.int64, types.int64
    return sentence.compile(given), sentence_word_scores.compile(given)


@partial(kernel, fast=False, nogil=False)
def sentence(
    text: Any,
    tables: Any,
    words: Any,
) -> Any:
    """Return Σ log p of the words of a sentence and of its end, added from the first to the last.

    NaN if the text holds a mark such as `<s>`, which is no word of a sentence.

    Args:
        text: The sentence in UTF-8: bytes, which numba unpacks in 0.1 µs; a str takes it 1.2.
    """
    R = len(text) // 2 + 2
    room = np.empty(6 * R + int64_at(tables, 0), np.int64)
    total = 0.0
    T = read_sentence(text, tables, words, room)
    logp_R = room[:R].view(np.float64)
    for t in range(T):
        total += logp_R[t]
    return total if T else np.nan


@partial(kernel, fast=False, nogil=False)
def sentence_word_scores(
    text: Any,
    tables: Any,
    words: Any,
) -> Any:
    """Return (log p, length of its n-gram, whether it is unknown) of each word and of the end.

    Empty if the text holds a mark such as `<s>`."""
    R = len(text) // 2 + 2
    unknown = int64_at(words, 4)
    room = np.empty(6 * R + int64_at(tables, 0), np.int64)
    T = read_sentence(text, tables, words, room)
    logp_R = room[:R].view(np.float64)
    return [(logp_R[t], room[2 * R + t], room[R + t] == unknown) for t in range(T)]


@partial(kernel, fast=False, nogil=False)
def read_sentence(
    text: Any,
    tables: Any,
    words: Any,
    room: Any,
) -> Any:
    """Return the number T of the words of a sentence and of its end; 0: the mark of a begin or an end is in the text.

    Args:
        room: Place for log p of up to R tokens (float64), their ids, what `read` writes, and its state: 6 R + K
            numbers. One array for all, because each takes 0.1 µs.
    """
    R = len(text) // 2 + 2
    T = read_words(address_of(text), len(text), words, room[R:])
    if T > 0:
        row_K = room[6 * R : 6 * R + int64_at(tables, 0) - 1]
        for k in range(len(row_K)):
            row_K[k] = NONE if k else int64_at(words, 5)
        read(
            room[R : R + T],
            row_K,
            tables,
            room[:R].view(np.float64),
            room[2 * R : 6 * R].reshape(4, R),
        )

    return T


@partial(kernel, fast=False)
def read_words(
    text: Any,
    size: Any,
    words: Any,
    ids_R: Any,
) -> Any:
    """Write the ids of the words between blanks and of the end; return their number, or 0 (see `read_sentence`).

    Args:
        text, size: Address and number of bytes of the text.
    """
    slots = int64_at(words, 0)
    V = int64_at(words, 3)
    unknown = int64_at(words, 4)
    end = int64_at(words, 6)
    T = 0
    at = 0
    while True:
        while at < size and is_blank(byte_at(text, at)):
            at += 1
        if at >= size:
            ids_R[T] = end
            return T + 1

        begin = at
        number = BASIS
        while at < size and not is_blank(byte_at(text, at)):
            number = (number ^ byte_at(text, at)) * PRIME
            at += 1

        place = int64_at(
            slots,
            2
            * slot_of(
                text,
                begin,
                at,
                number,
                words,
            )
            + 1,
        )
        word = unknown if place < 0 else place & 0xFFFFFFFF
        if word > V:  # ids above V are marks; V itself is the unknown word
            return 0
        ids_R[T] = unknown if word == V else word
        T += 1


@partial(kernel, fast=False)
def is_blank(byte: Any) -> Any:
    """Return whether a byte is between words."""
    return byte <= SPACE and (BLANKS >> byte) & 1 == 1


@partial(kernel, fast=False)
def slot_of(
    text: Any,
    begin: Any,
    end: Any,
    number: Any,
    words: Any,
) -> Any:
    """Return the slot of the word text[begin : end], whose hash is *number*, or the free slot where it would be."""
    slots = int64_at(words, 0)
    mask = int64_at(words, 1)
    spelt = int64_at(words, 2)
    slot = (number ^ (number >> 32)) & mask
    while True:
        place = int64_at(slots, 2 * slot + 1)
        if place < 0:
            return slot
        if int64_at(slots, 2 * slot) == number:
            stored = (place >> 32) - begin
            at = begin
            # At the latest the line feed differs.
            while at < end and byte_at(spelt, stored + at) == byte_at(text, at):
                at += 1
            if at == end and byte_at(spelt, stored + at) == LINE_FEED:
                return slot

        slot = (slot + 1) & mask


@partial(kernel, fast=False)
def fill_words(
    text: Any,
    size: Any,
    words: Any,
    slot_S2: Any,
) -> None:
    """Put the lines of a text into the slots of a hash table: hash, place in the text and number of each line.

    Of lines that are equal the last one counts.
    """
    word = 0
    begin = 0
    number = BASIS
    for at in range(size):
        byte = byte_at(text, at)
        if byte == LINE_FEED:
            slot = slot_of(
                text,
                begin,
                at,
                number,
                words,
            )
            slot_S2[slot, 0], slot_S2[slot, 1] = number, begin << 32 | word
            word = word + 1
            begin = at + 1
            number = BASIS
        else:
            number = (number ^ byte) * PRIME
