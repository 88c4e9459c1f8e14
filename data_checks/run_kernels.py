"""Compile the search for repeated words and characters with numba: one pass over the bytes of texts."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from reviewlm.models.compiled import kernel

_SPACE = 32
_BEYOND_ASCII = 0x80


@partial(
    kernel,
    calls=[
        "const uint8[::1], const int64[::1], int32[:,::1]",
    ],
)
def longest_runs(
    data_B: Any,
    begins_N: Any,
    runs_NC: Any,
) -> None:
    """Write both runs of each text.

    Args:
        data_B: UTF-8 bytes of all texts.
        begins_N: Where each text begins, with the end (N + 1).
        runs_NC: Result (N, 2).
    """
    for text in range(len(begins_N) - 1):
        begin = begins_N[text]
        end = begins_N[text + 1]
        words = characters = word_run = character_run = np.int64(begin < end)

        # where this word and the one before begin, and the size of the latter
        word = begin
        last_word = begin
        last_size = np.int64(0)

        # the character before, its size, and this character
        last = begin
        last_wide = np.int64(0)
        at = begin
        while at < end:
            byte = data_B[at]
            wide = np.int64(1)
            if byte >= _BEYOND_ASCII:
                while at + wide < end and data_B[at + wide] & 0xC0 == _BEYOND_ASCII:
                    wide += 1

            if (
                wide == last_wide
                and byte == data_B[last]
                and byte > _SPACE
                and _equal(data_B, last, at, wide)
            ):
                character_run += 1
                characters = max(characters, character_run)
            else:
                character_run = np.int64(1)

            last = at
            last_wide = wide
            at = at + wide

            if byte <= _SPACE or at == end:
                size = last - word if byte <= _SPACE else at - word
                if 0 < size == last_size and _equal(data_B, last_word, word, size):
                    word_run += 1
                    words = max(words, word_run)
                else:
                    word_run = np.int64(1)

                last_word = word
                last_size = size
                word = at

        runs_NC[text, 0] = words
        runs_NC[text, 1] = characters


@kernel
def _equal(
    data_B: Any,
    left: Any,
    right: Any,
    size: Any,
) -> bool:
    for place in range(size):  # noqa: SIM110  # numba compiles no generator
        if data_B[left + place] != data_B[right + place]:
            return False
    return True
