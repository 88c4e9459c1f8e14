"""The hash table of words that compiled code reads finds what a dictionary finds, in less memory."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from models.ngram import loaded_kernels
from tests.examples import examples
from training.ngram.lines.line_lm import WordTable
from training.ngram.lines.text_corpus import BLANKS, END, MARKS, UNK, table_of


def table_for(words: list[str]) -> WordTable:
    """Return the table of the marks and some words."""
    text = "".join(f"{word}\n" for word in (*MARKS, *words))
    table = WordTable.of(loaded_kernels.step_kernels(), text, len(words) + 3)
    assert table
    return table


def ids_of(table: WordTable, text: str) -> list[int] | None:
    text_B, ids_R = np.frombuffer(text.encode() or b" ", np.uint8), np.empty(len(text) + 2, np.int64)
    number = loaded_kernels.step_kernels().read_words(text_B.ctypes.data, len(text_B), table.address, ids_R)
    return None if number < 0 else ids_R[:number].tolist()


def hash_of(word: str) -> int:
    """FNV-1a, 64 bits, as its authors define it."""
    number = 0xCBF29CE484222325
    for byte in word.encode():
        number = (number ^ byte) * 0x100000001B3 % (1 << 64)
    return number


def test_words_that_share_slots_are_all_found_and_others_are_not():
    words = [f"w{number}" for number in range(3_000)]
    table = table_for(words)
    mask = len(table._slot_S2) - 1
    wanted = [(hash_of(word) ^ hash_of(word) >> 32) & mask for word in words]
    assert len(set(wanted)) < 0.9 * len(words), "many words want the slot of another one"
    assert ids_of(table, " ".join(words)) == [*range(3, 3_003), END]
    others = [f"v{number}" for number in range(3_000)] + ["w", "w0w1", "w3000", "W1"]
    assert ids_of(table, " ".join(others)) == [UNK] * len(others) + [END]


@examples(200)
@given(words=st.lists(st.text(min_size=1, max_size=3), max_size=30), asked=st.lists(st.text(max_size=3), max_size=30))
def test_any_words_have_the_ids_of_a_dictionary(words, asked):
    """Of equal words the last one counts."""
    clean = ["".join(char for char in word if char not in f"{BLANKS} " and char.isprintable()) for word in words]
    clean = [word for word in clean if word]
    text = " ".join([*asked, *words]).encode("utf-8", "replace").decode()
    found = "".join(" " if char in BLANKS else char for char in text).split(" ")
    assume(not set(MARKS) & set(found))
    expected = [table_of([*MARKS, *clean]).get(word, UNK) for word in found if word]
    assert ids_of(table_for(clean), text) == [*expected, END]


def test_lines_that_are_not_the_words_of_the_model_make_no_table():
    kernels = loaded_kernels.step_kernels()
    assert WordTable.of(kernels, "a\nb\n", 2)
    assert WordTable.of(kernels, "a\nb", 2) is None
    assert WordTable.of(kernels, "a\nb\n", 3) is None
    assert WordTable.of(kernels, "", 0) is None
