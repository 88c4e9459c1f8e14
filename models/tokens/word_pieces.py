"""Cut a text into words, numbers, punctuation and line breaks by one regular expression of polars, and write it again.

**Chunks.** Texts are split at spaces, so that each distinct chunk is folded, cut and looked up only once. Words repeat:
of the chunks of 1,000 reviews, about one in seven is new. The split is at a space between two printable ASCII
characters, and the space belongs to the chunk after it. So no piece of a text is in two chunks if its rule for pieces
(a regular expression) has a space only as the first character of a piece. The same holds for rules about single
characters and letters of one word, such as folding.

**Writing** turns pieces back into normal text: spacing, quotes, capitals. A piece of punctuation includes the space
before it (" (" and "(" are two pieces). So the model itself predicts where a quote opens and whether a dash has spaces
around it. `Writer` only decides the space after a piece and the capitals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from ..text.personal_data import MASKS

PLACEHOLDERS = sorted({step.replacement for step in MASKS})
"""Placeholders of the normal form for personal data; each is one word."""
PATTERN = "|".join(
    (
        rf"(?i:{'|'.join(PLACEHOLDERS)})",
        r"(?i:[\p{L}\p{N}]+\.(?:com|net|org)\b)",
        r"\b[Ww]/(?:[Oo]\b)?",  # w/ friends, w/o ice
        r"\b\p{L}(?:\.\p{L}\b)+\.?",  # a.m., U.S.
        r"[\p{L}\p{M}][\p{L}\p{M}\p{N}]*(?:'[\p{L}\p{M}]+)*",  # don't, y'all'll
        r"\p{N}+\p{L}*",  # 12, 90s, 2nd, 10am
        r"\n{1,2}",
        r" ?[:;=]-?(?:[()]|[DdPp]\b)| ?<3",  # emoticons
        r" ?[.,:]\p{N}+\p{L}*",  # the rest of 12.95, 1,000 and 7:30pm
        r" ?\.{2,3}| ?!{2,3}| ?\?{2,3}| ?-{2,3}",
        r" ?[^\s\p{L}\p{M}\p{N}_]|_",  # a space taken with "_" would hide the `_url_` after it
    )
)
"""Pieces of a text; only white space matches no alternative. Punctuation includes the space before it."""
ASCII_RANGES = {
    r"\p{L}": "A-Za-z",
    r"\p{M}": "",
    r"\p{N}": "0-9",
}
STRAIGHT = {
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
}
_STRAIGHT = str.maketrans(STRAIGHT)
SPACE = ord(" ")
PRINTABLE = 94
COMPATIBLE = pl.CompatLevel.oldest()
SENTENCE_ENDS = frozenset([".", "!", "?", "!!", "!!!", "??", "???"])
NO_SENTENCE_END = frozenset(["mr", "mrs", "ms", "dr", "st", "vs", "jr", "sr", "approx", "dept"])
"""Abbreviations whose full stop does not end a sentence."""
ALWAYS_OPEN = frozenset("([{¿¡«#")
OPEN_IF_SPACED = frozenset("\"'`*~")
"""Signs that open if there is a space before them and close if not."""
CURRENCY = frozenset("$£€¥")
INFIX = frozenset(["-", "--", "---", "–", "—", "/", "&", "@", "\\", "="])
"""Signs that join both neighbours if no space is before them ("take-out"); else spaced ("cheap - and good")."""
ENGLISH_I = {
    "i": "I",
    "i'm": "I'm",
    "i've": "I've",
    "i'd": "I'd",
    "i'll": "I'll",
}


def _of_ascii(pattern: str) -> str:
    """Return a pattern with the letters and digits of ASCII in place of all, in Python's syntax."""

    def narrow_class(match: re.Match[str]) -> str:
        """Return a character class, in brackets, with ranges of ASCII in place of Unicode's properties."""
        ranges = match[0]
        for unicode_property, ascii_range in ASCII_RANGES.items():
            ranges = ranges.replace(unicode_property, ascii_range)

        return ranges if ranges[0] == "[" else f"[{ranges}]"

    return re.sub(r"\[(?:[^\]\\]|\\.)+\]|\\p\{[LMN]\}", narrow_class, pattern)


ASCII_PATTERN = _of_ascii(PATTERN).replace(r"\b", r"(?-u:\b)")
"""The same for ASCII texts. Each call of polars builds the automaton again: that of all letters takes 6 ms."""
_ONE, _ONE_SPACED = (
    re.compile(form.format(_of_ascii(PATTERN)), re.ASCII) for form in ("{}", " ?(?:{})")
)


def straighten_quotes(text: str) -> str:
    """Return a text with straight quotes, see `fold_texts`."""
    if text.isascii():
        return text
    return text.translate(_STRAIGHT)


def cut_one(text: str, spaced: bool = False) -> list[str]:
    """Return the pieces of one ASCII text, as `cut` does; *spaced*: each with the space before it, if there is one."""
    return (_ONE_SPACED if spaced else _ONE).findall(text)


def fold_texts(texts: Sequence[str] | pl.Series, fold: bool) -> pl.Series:
    """Return the texts with straight quotes, and in lower case if *fold* is set."""
    straight = pl.Series("text", texts, dtype=pl.String).str.replace_many(
        list(STRAIGHT), list(STRAIGHT.values())
    )
    if fold:
        return straight.str.to_lowercase()
    return straight


def not_ascii(texts: pl.Series) -> np.ndarray:
    """Return in which texts there is a character that is not ASCII, by one call of polars: each takes 0.1 ms."""
    text = pl.lit(texts).str
    return pl.select(text.len_bytes() != text.len_chars()).to_series().to_numpy()


def cut(texts: pl.Series) -> pl.Series:
    """Return the list of pieces of each text."""
    return _matches(texts, "{}")


def _matches(texts: pl.Series, form: str) -> pl.Series:
    """Return the list of matches of `PATTERN` in each text; *form* is the format of the pattern."""
    other_D = not_ascii(texts)
    if not other_D.any():
        return texts.str.extract_all(form.format(ASCII_PATTERN))

    first = int(other_D.argmax())  # lists are slow to gather: only from there on
    rest = texts.slice(first)
    other_D = other_D[first:]
    order = np.argsort(np.argsort(other_D, kind="stable"))
    some = zip((~other_D, other_D), (ASCII_PATTERN, PATTERN), strict=True)
    cuts = [rest.filter(mask_D).str.extract_all(form.format(pattern)) for mask_D, pattern in some]
    return pl.concat(
        [
            texts.head(first).str.extract_all(form.format(ASCII_PATTERN)),
            pl.concat(cuts).gather(order),
        ]
    )


def written_pieces(texts: pl.Series, folded_lists: pl.Series) -> pl.Series:
    """Return the list of pieces of each text as they are written, each with the space before it, if there is one.

    Folding can move a cut, since "İ" becomes two signs: such a text is cut where the folded one is.
    """
    lists = _matches(texts, " ?(?:{})")
    moved = lists.list.len() != folded_lists.list.len()
    if not moved.any():
        return lists
    rows = zip(moved, texts, folded_lists, strict=True)
    again = [_cut_as(text, pieces) if other else None for other, text, pieces in rows]
    return lists.zip_with(~moved, pl.Series(again, dtype=pl.List(pl.String)))


def find_moved_cuts(straight: pl.Series) -> np.ndarray:
    """Return in which chunks folding moves a cut, see `written_pieces`; only in those that are not ASCII."""
    other_M = not_ascii(straight)
    moved_M = np.zeros(len(straight), bool)
    if other_M.any():
        others = straight.filter(other_M)
        moved_M[other_M] = (
            cut(others).list.len() != cut(others.str.to_lowercase()).list.len()
        ).to_numpy()
    return moved_M


def _cut_as(text: str, pieces: Sequence[str]) -> list[str]:
    """Return the pieces of a text whose folded pieces are these; fewer where one of its signs belongs to two."""
    parts = []
    place = 0
    for piece in pieces:
        start = place
        place += text[place : place + 1] == " " and piece[0] != " "
        length = 0
        while length < len(piece) and place < len(text):
            length += len(text[place].lower())
            place += 1
        parts.append(text[start:place])

    return [piece for piece in parts if piece.strip(" ")]


@lru_cache(maxsize=256)
def pieces_of(text: str, fold: bool) -> tuple[str, ...]:
    """Return the pieces of one text. Cached, since a text is typed character by character."""
    plain = straighten_quotes(text)
    if plain.isascii():
        return tuple(cut_one(plain.lower() if fold else plain))
    straight = pl.lit(text).str.replace_many(list(STRAIGHT), list(STRAIGHT.values()))
    return tuple(
        pl.select(
            (straight.str.to_lowercase() if fold else straight).str.extract_all(PATTERN)
        ).item()
    )


class Chunks(NamedTuple):
    """The N chunks of D texts, M of them distinct.

    Attributes:
        distinct: The distinct chunks, those of ASCII first; the chunks of a text, joined, are the text.
        code_N: Index of each chunk in `distinct`.
        offsets: Where the chunks of each text begin, and the end (D+1, int64).
    """

    distinct: pl.Series
    code_N: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, texts: pl.Series, whole_D: np.ndarray | None = None) -> Chunks:
        """Split texts without nulls; texts in the mask *whole_D* are one chunk."""
        array = texts.to_arrow(compat_level=COMPATIBLE)
        starts = np.frombuffer(array.buffers()[1], np.int64)[array.offset :][: len(array) + 1]
        size = int(starts[-1] - starts[0])
        if not size:
            return cls(texts.clear(), np.zeros(0, np.int64), np.zeros(len(array) + 1, np.int64))

        data = array.buffers()[2].slice(starts[0], size)
        starts = starts - starts[0]
        if whole_D is None:
            whole_D = np.zeros(len(texts), bool)

        dictionary, codes_N, offsets = _split(data, starts, whole_D)
        distinct = pl.Series(texts.name, dictionary, dtype=pl.String)
        order = np.argsort(
            (distinct.str.len_bytes() != distinct.str.len_chars()).to_numpy(), kind="stable"
        )
        return cls(distinct.gather(order), np.argsort(order)[codes_N], offsets)

    @classmethod
    def single(cls, texts: pl.Series) -> Chunks:
        """Return each text as one chunk."""
        return cls(texts, np.arange(len(texts)), np.arange(len(texts) + 1))

    def counts(self, some_N: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Return how often each distinct chunk occurs (M, int64), among *some_N* of all chunks."""
        return np.bincount(self.code_N[some_N], minlength=len(self.distinct))

    def texts_with(self, some_M: np.ndarray) -> np.ndarray:
        """Return which texts have one of *some_M* of the distinct chunks (D,)."""
        return np.diff(np.concatenate([[0], np.cumsum(some_M[self.code_N])])[self.offsets]) > 0

    def pieces(self, widths_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pieces of all texts, and the number of pieces of each text (D, int64).

        Args:
            widths_M: Number of pieces of each distinct chunk.

        Returns:
            Indices into the pieces of all distinct chunks, one chunk after another.
        """
        widths_M = widths_M.astype(np.int64)
        widths_N = widths_M[self.code_N]
        ends = np.concatenate([[0], np.cumsum(widths_N)])
        starts_N = (np.cumsum(widths_M) - widths_M)[self.code_N]
        places = np.repeat(starts_N - ends[:-1], widths_N) + np.arange(ends[-1])
        return places, np.diff(ends[self.offsets])


def _split(
    data: Any,
    starts: np.ndarray,
    whole_D: np.ndarray,
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Split the bytes of texts that begin at *starts*.

    Returns:
        The distinct chunks as an Arrow array, in the order in which they first appear; the index of each chunk in it
        (N,); where the chunks of each text begin, and the end (D + 1,).
    """
    import pyarrow as pa

    bytes_B = np.frombuffer(data, np.uint8)
    printable_B = bytes_B - np.uint8(SPACE + 1) < PRINTABLE  # wraps around below
    begins_B = bytes_B == SPACE
    begins_B[1:] &= printable_B[:-1]
    begins_B[:-1] &= printable_B[1:]
    if whole_D.any():
        begins_B &= ~np.repeat(whole_D, np.diff(starts))

    some_D = np.diff(starts) > 0
    begins_B[starts[1:][some_D] - 1] = False
    begins_B[starts[:-1][some_D]] = True
    bounds = np.append(np.flatnonzero(begins_B), len(bytes_B))
    chunks = pa.LargeStringArray.from_buffers(
        len(bounds) - 1, pa.py_buffer(bounds), data
    ).dictionary_encode()
    return (
        chunks.dictionary,
        np.frombuffer(chunks.indices.buffers()[1], np.int32),
        np.searchsorted(bounds, starts),
    )


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
        self._casing = casing
        self._fold = fold
        self._last = ""
        self._joined = True  # the next word follows without a space
        self._starts = True  # the next word starts a sentence

    def read(self, pieces: Iterable[str], spaced: bool) -> None:
        """Read the pieces of text that is already written; *spaced*: whether it ends with white space."""
        for piece in pieces:
            self.write(piece)
        if spaced:
            self._joined = True
            if not self._last.isspace():
                self._last = ""

    def write(self, piece: str) -> str:
        """Return the text that the next piece adds."""
        if piece.isspace():
            text = piece
            self._joined = True
            self._starts = True
        elif is_word(piece):
            joins = self._joined or (self._last in CURRENCY and piece[0].isnumeric())
            text = ("" if joins else " ") + self._usual_case(piece)
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

    def _usual_case(self, word: str) -> str:
        if not self._fold:
            return word
        usual = self._casing.get(word) or ENGLISH_I.get(word, word)
        if self._starts and usual.islower():
            return usual[0].upper() + usual[1:]
        return usual

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
