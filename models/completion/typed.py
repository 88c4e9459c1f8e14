"""Divide a prompt into its context and the word that is being typed, and turn the tokens generated after it into text.

`WrittenText` takes the tokens one by one, and ends the text at a stop string.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..tokens.special import UNK
from ..tokens.vocabulary import Vocabulary, page
from ..tokens.word_pieces import is_word, pieces_of
from .reading import Ids
from .spellings import EntryIndex

OPENERS = "([{“‘«"
REVERSED_WORD = re.compile(r"(?:[^\W_]|[\u0300-\u036f'’])*[^\W_]")
"""The word at the end of a text, matched in the reversed text: letters and digits, with apostrophes after the first of
them. In the text itself, a search would begin at every letter of a long word."""
LONGEST_DIVIDED = 24
"""Maximum number of characters for which the probabilities of all divisions into tokens are summed. Of a longer word, or
a longer string without a space, only the end is divided in all ways."""


@dataclass(frozen=True)
class Typed:
    """A text in normal form, divided.

    Args:
        text: The whole text.
        word: The word at its end, "" if the text ends with a space, a mark or nothing.
        spaced: Whether a space ends the text, so that no punctuation mark can follow without a space.
        ids: Tokens of the whole text, special tokens included.
        context: Tokens of the text before the word.
    """

    text: str
    word: str
    spaced: bool
    ids: Ids
    context: Ids

    @property
    def before(self) -> str:
        """The text before the word, without the space between them."""
        return self.text[: len(self.text) - len(self.word)].removesuffix(" ")

    @property
    def characters(self) -> bytes:
        """The word with the space before it, as the characters that follow the context."""
        return self.text[len(self.before) :].encode()

    @property
    def begun(self) -> bool:
        """Whether the next word follows without a space."""
        return not self.text or self.text[-1] == "\n" or self.text[-1] in OPENERS


def divide(
    vocabulary: Vocabulary,
    prompt: str,
    prefix: Ids,
) -> Typed:
    """Bring a prompt into normal form and divide it.

    Args:
        vocabulary: Its rules say what a word is.
        prompt: The text so far.
        prefix: Tokens before those of the text.
    """
    text = page(vocabulary, prompt)
    tokens = tuple(vocabulary.encode(text).tolist())
    word = ""
    unread = 0
    if not prompt[-1:].isspace():
        word, unread = _last_word(vocabulary, text)

    if unread or not word:
        context = tokens[: len(tokens) - unread]
    else:
        context = tuple(vocabulary.encode(text[: -len(word)].removesuffix(" ")).tolist())

    blank = prompt[len(prompt.rstrip()) :]
    return Typed(
        text,
        word,
        bool(text and blank) and "\n" not in blank,
        prefix + tokens,
        prefix + context,
    )


def _last_word(vocabulary: Vocabulary, text: str) -> tuple[str, int]:
    """Return the word at the end of a text, and how many tokens it has (0: to be found by encoding the rest)."""
    if vocabulary.word_unit is None:
        match = REVERSED_WORD.match(text[::-1])
        if match:
            return match[0][::-1], 0
        return "", 0

    pieces = pieces_of(text, vocabulary.spec.lowercase)
    for count in (1, 2):  # an apostrophe after letters may belong to the word: "don'"
        if len(pieces) >= count and (count == 1 or pieces[-1] == "'") and is_word(pieces[-count]):
            length = sum(map(len, pieces[-count:]))
            if pieces[-count][0] == "_":
                return "", 0
            return text[-length:], count
    return "", 0


@lru_cache(maxsize=8)
def words_of(vocabulary: Vocabulary) -> EntryIndex:
    """Return the words of a word vocabulary by their beginnings, the same index for each call."""
    ids = np.flatnonzero(vocabulary.word_start_V).tolist()
    return EntryIndex([vocabulary.token(number).encode() for number in ids], ids)


class TextStart(NamedTuple):
    """The tokens of a prompt that a model reads, and the tokens that it may write first.

    Args:
        ids: Tokens to read, without those of `Vocabulary.prefix`.
        whole: Tokens of the whole prompt.
        first: The entries that may come first; empty: any token.
        before: The text before the unfinished word, whose tokens are read.
        word: The unfinished word at the end of the prompt, "" if there is none.
        path: Tokens of a subword vocabulary that are read of the unfinished word.
        open: The prompt divided at the word at its end, if it must still be found out how that may go on
            (`suggestions.py`).
    """

    ids: Ids
    whole: Ids
    first: Ids = ()
    before: str = ""
    word: str = ""
    path: Ids = ()
    open: Typed | None = None

    def rest_of(
        self,
        vocabulary: Vocabulary,
        token: int,
        text: str,
    ) -> str:
        """Return the characters that an entry of `first` adds to the unfinished word; *text* is written after `path`."""
        if vocabulary.word_unit is None:
            return text[len(self.word) :]
        entry = vocabulary.token(token)
        usual = vocabulary.word_unit.page_after(self.before).shown(entry).strip()
        return with_typed_capitals(usual, entry, self.word, _fold(vocabulary, self.word))[
            len(self.word) :
        ]


@lru_cache(maxsize=4)
def start_of(vocabulary: Vocabulary, prompt: str) -> TextStart:
    """Return how a text that continues a prompt begins; the texts of one request have the same.

    A word vocabulary reads the end of "the food was gre" as an unknown word, after which the model knows nothing. If it
    has words that begin so, the text goes on inside the word: the model reads what comes before it, and the first word
    is drawn from those words, in proportion to their probabilities. A space finishes the word. With a vocabulary of
    parts of words, the model must say how the last word may go on (`TextStart.open`).
    """
    if vocabulary.unit == "char":  # any text is cut in one way
        ids = tuple(vocabulary.encode(page(vocabulary, prompt)).tolist())
        return TextStart(ids, ids)

    typed = divide(vocabulary, prompt, ())
    if typed.word and not vocabulary.word_unit:
        return TextStart(typed.ids, typed.ids, open=_end_of(vocabulary, typed))

    if typed.word and (vocabulary.encode(typed.word) == UNK).any():
        words = words_of(vocabulary).beginning_with(_fold(vocabulary, typed.word).encode())
        if len(words):
            before = typed.text[: len(typed.text) - len(typed.word)]
            return TextStart(
                typed.context,
                typed.ids,
                tuple(words.tolist()),
                before,
                typed.word,
            )

    return TextStart(typed.ids, typed.ids)


def _end_of(vocabulary: Vocabulary, typed: Typed) -> Typed:
    """Return a text that is divided within its last word, if that is longer than `LONGEST_DIVIDED`."""
    if len(typed.word) <= LONGEST_DIVIDED:
        return typed
    context = tuple(vocabulary.encode(typed.text[:-LONGEST_DIVIDED]).tolist())
    return replace(typed, word=typed.word[-LONGEST_DIVIDED:], context=context)


def with_typed_capitals(
    usual: str,
    word: str,
    typed: str,
    beginning: str,
) -> str:
    """Return a word with its usual capitals, or with those that the typist uses.

    Args:
        usual: The word as it is written here.
        word: The word as it is in the vocabulary.
        typed: Its beginning as it was typed.
        beginning: Its beginning as it is in the vocabulary.
    """
    if typed == typed.lower() or usual.startswith(typed):
        return usual
    rest = word[len(beginning) :]
    return typed + (rest.upper() if len(typed) > 1 and typed == typed.upper() else rest)


def _fold(vocabulary: Vocabulary, word: str) -> str:
    """Return the beginning of a word as it is in a word vocabulary."""
    return "".join(pieces_of(word, vocabulary.spec.lowercase))


class WrittenText:
    """The text of one generation after its prompt.

    Args:
        vocabulary: Of the tokens.
        prompt: The text before; it decides about the first space and capital.
        stop: Strings that end the text.
        start: How the text begins: its first token may finish the prompt's last word. Default: the usual way.

    Attributes:
        stopped: Whether a stop string has ended the text.
        added: What the latest token adds to the text, whether it is certain or not.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        prompt: str,
        stop: Sequence[str] = (),
        start: TextStart | None = None,
    ) -> None:
        start = start or start_of(vocabulary, prompt)
        self._unfinished = start if start.word else None
        writer = vocabulary.writer(start.before if start.word else prompt)
        # The prompt's tokens of the unfinished word are written again, without being added to the text.
        for token in start.path:
            writer.write(token)

        self._vocabulary = vocabulary
        self._write = writer.write
        self._show = writer.shown
        self._at_margin = not prompt or prompt[-1].isspace()
        self._stop = tuple(stop)
        self._held = ""
        self._longest = max(map(len, self._stop), default=0)
        self.stopped = False
        self.added = ""

    def add(self, token: int) -> str:
        """Return the text that is certain now: what may become a stop string is held back."""
        text = self._write(token)
        if self._unfinished:
            text = self._unfinished.rest_of(self._vocabulary, token, text)
            self._unfinished = None

        if self._at_margin:
            text = text.lstrip()
            self._at_margin = not text

        self.added = text
        if not self._stop or self.stopped:
            return "" if self.stopped else text

        self._held += text
        places = [place for place in map(self._held.find, self._stop) if place >= 0]
        if places:
            sure = self._held[: min(places)]
            self._held = ""
            self.stopped = True
            return sure

        sure = self._held[: len(self._held) - self._stop_prefix_length()]
        self._held = self._held[len(sure) :]
        return sure

    def shown(self, token: int) -> str:
        """Return the characters that a token would add to the text."""
        text = self._show(token)
        if self._unfinished:
            return self._unfinished.rest_of(self._vocabulary, token, text)
        if self._at_margin:
            return text.lstrip()
        return text

    def _stop_prefix_length(self) -> int:
        """Return the length of the longest end of the held text with which a stop string begins."""
        longest = min(len(self._held), self._longest - 1)
        for length in range(longest, 0, -1):
            end = self._held[-length:]
            if any(string.startswith(end) for string in self._stop):
                return length

        return 0

    def end(self) -> str:
        """Return the characters kept back as a possible stop string; call it at the end of the text."""
        rest = self._held
        self._held = ""
        return rest
