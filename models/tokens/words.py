"""Cut review English into words, numbers, punctuation and line breaks: the word unit.

Cutting and folding are polars expressions (one regular expression, one engine), also where the training text is counted
(`training/vocabularies/words.py`): so counting and encoding always agree.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from .spelling import Spelling
from .surface import Surface, SurfacePieces, Traits, read, traits
from .word_pieces import (
    PATTERN,
    Chunks,
    TokenWriter,
    Writer,
    cut,
    cut_one,
    find_moved_cuts,
    fold_texts,
    is_word,
    pieces_of,
    straighten_quotes,
    written_pieces,
)

__all__ = ["FIRST", "PATTERN", "WordUnit", "cut", "fold_texts"]

Priced = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
FEW_PIECES = 5_000
"""Number of pieces below which a dictionary is faster than casting a column, which hashes the whole vocabulary."""
ONE = 10_000
"""Number of characters up to which a single text is faster without polars."""
SINGLY = 32
"""Number of texts up to which one after another is faster: 0.3 ms of each (60 words), where six together took 1.3."""
CACHED = 1 << 17
"""Maximum number of written forms whose traits are kept."""
FIRST = 9
"""Id of the first entry that is not a special token (these are in `models/tokens/vocabulary.py`)."""


class WordUnit:
    """Words by id, with their usual case, the price of spelling unknown words, and the price of what folding drops.

    A price is the cost in nats of coding something that the ids leave out.

    Args:
        words: Entries from id `FIRST` on.
        fold: Fold case before looking a word up.
        casing: Folded word → usual form.
        spelling: Prices of unknown words.
        surface: Prices of case, spaces and quotes; None: they cost nothing.
    """

    lossless = False

    def __init__(
        self,
        words: Sequence[str],
        fold: bool,
        casing: Mapping[str, str],
        spelling: Spelling,
        surface: Surface | None = None,
    ) -> None:
        self._words = list(words)
        self._fold = fold
        self._casing = dict(casing)
        self.spelling = spelling
        self.surface = surface
        self._ids = {word: number for number, word in enumerate(self._words, FIRST)}
        self._entries = pl.Enum(self._words)
        self.size = FIRST + len(self._words)
        self._traits: dict[tuple[str, str], Traits] = {}
        of_entries = [is_word(word) and word[0] != "_" for word in self._words]
        self.is_word_V = np.array([False] * FIRST + of_entries)

    def encode_batch(self, texts: Sequence[str] | pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of all texts, one after another (int32), and the number of ids of each text (int64)."""
        return self.encode_priced(texts, whole=False)[:2]

    def encode(self, text: str) -> np.ndarray:
        """Return the ids (int32) of one text."""
        return np.array(
            [self._ids.get(piece, 0) for piece in pieces_of(text, self._fold)], np.int32
        )

    def encode_priced(self, texts: Sequence[str] | pl.Series, whole: bool = True) -> Priced:
        """Return ids and lengths as `encode_batch`, the price of each unknown token, and the price of each surface.

        The surface of a text is its case, spaces and quotes. All
        prices are 0 if *whole* is not set.
        """
        if 0 < len(texts) <= SINGLY:
            return self._encode_singly(texts, whole)
        return self._encode_together(texts, whole)

    def _encode_singly(self, texts: Sequence[str] | pl.Series, whole: bool) -> Priced:
        """Return `encode_priced`, one text after another where that is possible: a call for all has a price of its own."""
        priced = [self._encode_one(text, whole) for text in texts]
        others = [number for number, one in enumerate(priced) if one is None]
        if others:
            together = self._encode_together([texts[number] for number in others], whole)
            for number, one in zip(others, _split_texts(together), strict=True):
                priced[number] = one

        columns = zip(*[one for one in priced if one is not None], strict=True)
        ids, lengths, nats_U, surface_D = (np.concatenate(column) for column in columns)
        return ids, lengths, nats_U, surface_D

    def _encode_together(self, texts: Sequence[str] | pl.Series, whole: bool) -> Priced:
        """Return `encode_priced` by columns of all texts."""
        series = pl.Series("text", texts, dtype=pl.String)
        chunks = Chunks.of(series)
        straight = fold_texts(chunks.distinct, fold=False)
        with_surface = whole and self.surface is not None
        if with_surface and self._fold and (moved_M := find_moved_cuts(straight)).any():
            chunks = Chunks.of(series, chunks.texts_with(moved_M))  # such a text is a single chunk
            straight = fold_texts(chunks.distinct, fold=False)

        lists = self.cut(straight)
        ids_P, widths_M, pieces = self._encode(lists)
        index_N, lengths = chunks.pieces(widths_M)
        surface_D = np.zeros(len(series))
        if with_surface and self.surface:
            surface_D = self.surface.nats(
                series, self.surface_pieces(chunks, straight, lists, self.surface.symbols)
            )

        ids = ids_P[index_N]
        unknown_U = np.flatnonzero(ids == 0)
        if not whole:
            return ids, lengths, np.zeros(len(unknown_U)), surface_D

        surfaces = pieces.gather(index_N[unknown_U].astype(np.uint32)).to_list()
        text_U = _text_of(unknown_U, lengths)
        nats_U = self.spelling.nats_of_texts(surfaces, text_U)
        return ids, lengths, nats_U, surface_D

    def _encode_one(self, text: str, whole: bool) -> Priced | None:
        """Return one text's `encode_priced`, without polars, whose calls take 2 ms; None: a text not of ASCII."""
        straight = straighten_quotes(text)
        surface_nats = 0.0
        if len(text) > ONE or not straight.isascii():
            return None

        pieces = cut_one(straight.lower() if self._fold else straight)
        if whole and self.surface is not None:
            priced = self.surface.nats_of_one(
                text, cut_one(straight, spaced=True), pieces, self._traits_of
            )
            if priced is None:
                return None
            surface_nats = priced

        ids = np.array([self._ids.get(piece, 0) for piece in pieces], np.int32)
        unknown_U = np.flatnonzero(ids == 0)
        prices = np.zeros(len(unknown_U))
        if whole:
            unknown = [pieces[at] for at in unknown_U]
            prices = self.spelling.nats_of_texts(unknown, np.zeros_like(unknown_U))

        return ids, np.array([len(ids)]), prices, np.array([surface_nats])

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Return the words of a text that the vocabulary does not have, in order."""
        return tuple(piece for piece in pieces_of(text, self._fold) if piece not in self._ids)

    @property
    def folds(self) -> bool:
        """Whether case is folded."""
        return self._fold

    def forms(self, piece: str) -> list[str]:
        """Return an entry in its usual shapes: as it is, with a first capital, in capitals, in its usual form."""
        body = piece.removeprefix(" ")
        if not self._fold:
            return [piece]
        space = piece[: len(piece) - len(body)]
        capitalised = body[:1].upper() + body[1:]
        forms = dict.fromkeys((body, capitalised, body.upper(), self._casing.get(body, body)))
        return [space + form for form in forms if form.lower() == body]

    def traits(self, form: str) -> Traits:
        """Return how a piece is written, with the space before it, if there is one."""
        return self._traits_of(form, form.removeprefix(" ").lower())

    def last_piece(self, text: str) -> str:
        """Return the last piece of a text in normal form as it is written, "" if there is none."""
        pieces = pieces_of(text[-200:], self._fold)
        if pieces:
            return straighten_quotes(text)[-len(pieces[-1]) :]
        return ""

    def cut(self, straight: pl.Series) -> pl.Series:
        """Return the list of pieces of each text with straight quotes."""
        return cut(straight.str.to_lowercase() if self._fold else straight)

    def surface_pieces(
        self,
        chunks: Chunks,
        straight: pl.Series,
        lists: pl.Series,
        symbols: Sequence[str] = (),
    ) -> SurfacePieces:
        """Return the input of `surface.py`; *straight* and *lists*: the distinct chunks, and their pieces."""
        written = written_pieces(straight, lists)
        return read(
            written,
            lists,
            straight,
            chunks,
            self._fold,
            self._traits_of,
            symbols,
        )

    def _traits_of(self, form: str, lowered: str) -> Traits:
        form_traits = self._traits.get((form, lowered))
        if form_traits is None:
            if len(self._traits) >= CACHED:
                self._traits.clear()
            form_traits = traits(
                form,
                lowered,
                self._fold,
                self._casing,
                self._ids.keys(),
            )
            self._traits[form, lowered] = form_traits

        return form_traits

    def _encode(self, lists: pl.Series) -> tuple[np.ndarray, np.ndarray, pl.Series]:
        lengths = lists.list.len().cast(pl.Int64).to_numpy()
        pieces = lists.filter(lengths > 0).explode()
        if len(pieces) < FEW_PIECES:
            return (
                np.array([self._ids.get(piece, 0) for piece in pieces], np.int32),
                lengths,
                pieces,
            )

        codes = pieces.cast(self._entries, strict=False).to_physical().cast(pl.Int32)
        return (codes + FIRST).fill_null(0).to_numpy(), lengths, pieces

    def decode(self, ids: Iterable[int], before: str = "") -> str:
        """Return the text that continues *before*; special tokens are left out."""
        return "".join(map(self.writer(before), ids))

    def writer(self, before: str = "") -> TokenWriter:
        """Return a function that takes the ids of a text one by one, and returns what each adds to the text."""
        page = self.page_after(before)

        def text_of(write: Callable[[str], str]) -> Callable[[int], str]:
            return lambda token: write(self._words[token - FIRST]) if token >= FIRST else ""

        return TokenWriter(text_of(page.write), text_of(page.shown))

    def page_after(self, before: str) -> Writer:
        """Return a writer that continues a text."""
        writer = Writer(self._casing, self._fold)
        writer.read(pieces_of(before[-200:], self._fold), spaced=before[-1:].isspace())
        return writer

    def place(self, before: str) -> Hashable:
        """Return all of a text that spacing and capitals of the next word depend on."""
        return self.page_after(before).place

    def texts_after(self, before: str) -> list[bytes]:
        """Return the text that each word would add to *before*."""
        writer = self.page_after(before)
        return [writer.shown(word).encode() for word in self._words]

    def entry(self, token: int) -> bytes:
        """Return the entry as it is in the vocabulary, in UTF-8."""
        return self.piece(token).encode()

    def piece(self, token: int) -> str:
        """Return the entry as it is in the vocabulary."""
        return self._words[token - FIRST]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = {
            "words": self._words,
            "casing": self._casing,
            "spelling": self.spelling.to_dict(),
        }
        return values | ({"surface": self.surface.to_dict()} if self.surface else {})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], fold: bool) -> WordUnit:
        """Rebuild the unit from the result of `to_dict`; raise ValueError for other values."""
        words = values["words"]
        casing = values["casing"]
        if (
            not isinstance(words, list)
            or not words
            or not all(isinstance(word, str) and word for word in words)
        ):
            raise ValueError("'words' must be a list of words")
        if not isinstance(casing, dict) or not all(
            isinstance(form, str) for form in casing.values()
        ):
            raise ValueError("'casing' must be an object: words and their usual forms")

        surface = Surface.from_dict(values["surface"])
        return cls(
            words,
            fold,
            casing,
            Spelling.from_dict(words, values["spelling"]),
            surface,
        )


def _split_texts(priced: Priced) -> list[Priced]:
    """Return the result of `encode_priced` of each text by itself."""
    ids, lengths, nats_U, surface_D = priced
    ends = np.cumsum(lengths)
    unknown_D = np.cumsum(
        np.bincount(_text_of(np.flatnonzero(ids == 0), lengths), minlength=len(ends))
    )
    texts = zip(
        np.split(ids, ends[:-1]),
        lengths[:, None],
        np.split(nats_U, unknown_D[:-1]),
        surface_D[:, None],
        strict=True,
    )
    return list(texts)


def _text_of(place_U: np.ndarray, lengths_D: np.ndarray) -> np.ndarray:
    """Return the index of the text in which each of some pieces is, from the numbers of pieces of the texts."""
    text_N: np.ndarray = np.repeat(np.arange(len(lengths_D)), lengths_D)
    return text_N[place_U]
