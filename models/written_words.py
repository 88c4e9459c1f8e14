"""Convert the words of a text to bare words with tags of case and punctuation, and back.

A word is what stands between two spaces, without marks around it. Its tag says how it is written, and which mark
follows:

    Great food, but NOT cheap!
    words   great   food    but     not     cheap
    tags    Title   lower,  lower   UPPER   lower!

Five marks are told apart: none , . ? and !; of several the strongest counts ("?!" is "?"), a semicolon counts as a full
stop and a colon as a comma, as is usual (Tilk and Alumäe 2016). Quotes, brackets, dashes and signs of emphasis around a
word are left out, and so is what consists of them and marks alone, such as ":)"; "$20", "50%" and "&" stay. A word of
mixed case ("iPhone", "McDonald") is "lower" or "Title" by its first letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

CASES = ("lower", "Title", "UPPER")
MARKS = ("", ",", ".", "?", "!")
TAGS = tuple(case + mark for case in CASES for mark in MARKS)
"""The K tags, in the order of their numbers: case · 5 + mark."""
STRENGTH = {
    "?": "?",
    "!": "!",
    ".": ".",
    "…": ".",
    ";": ".",
    ",": ",",
    ":": ",",
}
"""Mark that each character counts as, the strongest first."""
AROUND = "".join(STRENGTH) + "\"'`´‘’‚‛“”„‟«»‹›()[]{}<>-‐‑–—―~*_|/\\^="
"""Characters around a word that are taken off."""


class TaggedWords(NamedTuple):
    """Words in lower case without marks, and the number of the tag of each."""

    words: list[str]
    tags: list[int]


def taken_off(text: str) -> TaggedWords:
    """Return the words and tags of a text."""
    tagged = TaggedWords([], [])
    for chunk in text.split():
        core = chunk.strip(AROUND)
        mark = _mark(chunk[len(chunk.rstrip(AROUND)) :] if core else chunk)
        if core:
            tagged.words.append(core.lower())
            tagged.tags.append(_case(core) * len(MARKS) + mark)
        elif tagged.tags and tagged.tags[-1] % len(MARKS) == 0 and STRENGTH.keys() >= {*chunk}:
            tagged.tags[-1] += mark  # a mark that stands alone belongs to the word before

    return tagged


def put_back(words: Sequence[str], tags: Sequence[int]) -> str:
    """Return a text from words in lower case and the numbers of their tags."""
    written = []
    for word, tag in zip(words, tags, strict=True):
        case, mark = divmod(tag, len(MARKS))
        written.append(_write_case(word, CASES[case]) + MARKS[mark])

    return " ".join(written)


def _mark(end: str) -> int:
    strongest = next((mark for character, mark in STRENGTH.items() if character in end), "")
    return MARKS.index(strongest)


def _case(word: str) -> int:
    letters = [letter for letter in word if letter.lower() != letter.upper()]
    if not letters or letters[0].islower():
        return 0
    if len(letters) > 1 and all(letter.isupper() for letter in letters):
        return 2
    return 1


def _write_case(word: str, case: str) -> str:
    if case == "UPPER":
        return word.upper()
    if case == "lower":
        return word
    first = next(
        (place for place, letter in enumerate(word) if letter.lower() != letter.upper()), 0
    )
    return word[:first] + word[first : first + 1].upper() + word[first + 1 :]
