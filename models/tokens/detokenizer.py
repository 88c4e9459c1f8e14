"""Turn word pieces back into normal text: spacing, quotes, capitals.

A piece of punctuation includes the space before it (" (" and "(" are two pieces). So the model itself predicts where a
quote opens and whether a dash has spaces around it. This module only decides the space after a piece and the capitals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

SENTENCE_ENDS = frozenset([".", "!", "?", "!!", "!!!", "??", "???"])
NO_SENTENCE_END = frozenset(["mr", "mrs", "ms", "dr", "st", "vs", "jr", "sr", "approx", "dept"])
"""Abbreviations whose full stop does not end a sentence."""
ALWAYS_OPEN = frozenset("([{¿¡«#")
OPEN_IF_SPACED = frozenset("\"'`*~")
"""Signs that open if there is a space before them and close if not."""
CURRENCY = frozenset("$£€¥")
INFIX = frozenset(["-", "--", "---", "–", "—", "/", "&", "@", "\\", "="])
"""Signs that join both neighbours if no space is before them ("take-out"); else spaced ("cheap - and good")."""
ENGLISH_I = {"i": "I", "i'm": "I'm", "i've": "I've", "i'd": "I'd", "i'll": "I'll"}


@dataclass(frozen=True)
class TokenWriter:
    """Function that takes the ids of a text one by one, and returns what each adds to the text.

    Args:
        write: Writes a token.
        shown: Returns what a token would add, without writing it.
    """

    write: Callable[[int], str]
    shown: Callable[[int], str]

    def __call__(self, token: int) -> str:
        """Write a token."""
        return self.write(token)


def is_word(piece: str) -> bool:
    """Return whether a piece is a word or a number, and not punctuation or a line break."""
    return piece[:1].isalnum() or (len(piece) > 1 and piece[0] == "_")


def _is_fraction(piece: str) -> bool:
    return len(piece) > 1 and piece[0] in ".,:" and piece[1].isnumeric()


class Writer:
    """Writer of pieces, one after another; it remembers what spacing and capitals of the next piece depend on.

    Args:
        casing: Folded word → its usual form in the middle of a sentence ("phoenix" → "Phoenix").
        fold: False if the pieces keep their own capitals.
    """

    def __init__(self, casing: Mapping[str, str], fold: bool = True) -> None:
        self._casing, self._fold = casing, fold
        self._last = ""
        self._joined = True  # the next word follows without a space
        self._starts = True  # the next word starts a sentence

    def read(self, pieces: Iterable[str], spaced: bool) -> None:
        """Read the pieces of text that is already written; *spaced*: whether it ends with white space."""
        for piece in pieces:
            self.write(piece)
        if spaced:
            self._joined, self._last = True, self._last if self._last.isspace() else ""

    def write(self, piece: str) -> str:
        """Return the text that the next piece adds."""
        if piece.isspace():
            text, self._joined, self._starts = piece, True, True
        elif is_word(piece):
            text = ("" if self._joins(piece) else " ") + self._cased(piece)
            self._joined = self._starts = False
        else:
            text = self._punctuation(piece)
        self._last = piece.strip(" ")
        return text

    @property
    def place(self) -> tuple[bool, bool, bool]:
        """All that the text of the next piece depends on."""
        return self._joined, self._starts, self._last in CURRENCY

    def shown(self, piece: str) -> str:
        """Return the text that a piece would add, without writing it."""
        before = self._last, self._joined, self._starts
        text = self.write(piece)
        self._last, self._joined, self._starts = before
        return text

    def _joins(self, word: str) -> bool:
        return self._joined or (self._last in CURRENCY and word[0].isnumeric())

    def _cased(self, word: str) -> str:
        if not self._fold:
            return word
        usual = self._casing.get(word) or ENGLISH_I.get(word, word)
        return usual[0].upper() + usual[1:] if self._starts and usual.islower() else usual

    def _punctuation(self, piece: str) -> str:
        body = piece.strip(" ")
        spaced = piece.startswith(" ") and not self._joined
        opens = self._opens(body, free=spaced or self._joined)
        self._starts = self._sentence_starts_after(body)
        self._joined = opens
        return (" " if spaced else "") + self._casing.get(body, body)

    @staticmethod
    def _opens(body: str, free: bool) -> bool:
        if body[0] in ALWAYS_OPEN:
            return True
        if body in INFIX:
            return not free
        return free and body in OPEN_IF_SPACED

    def _sentence_starts_after(self, body: str) -> bool:
        if body in SENTENCE_ENDS:
            in_dots = body == "." and self._last.startswith("..")
            return not in_dots and self._last.lower() not in NO_SENTENCE_END
        if _is_fraction(body) or body in ",;:" or body.startswith(".."):
            return False
        return self._starts
