r"""Compute the cost in nats of what a word vocabulary drops: case, the spaces between pieces, the style of quotes.

A folding vocabulary has to predict less of the text than a vocabulary of bytes, so its figures would look better. So
the dropped parts are coded too, given the pieces that the vocabulary keeps: is there a space before each piece, how is
it written, which quotes are curly. This cost (the price) is added to a word model's nats and to the spelling of unknown
words (`models/tokens/spelling.py`). The sum is the length of a code of the whole text, as for a model of bytes:

    −log p(text | pieces)  =  Σ over pieces  −log p(space | kind, piece before)
                            + Σ over pieces  −log p(shape | place, usual shape, shape before)  −log p(quotes)

If the pieces do not say what is between them, the price is that of this event and of all bytes of the text.

The probabilities are smoothed counts of a sample of the training text: every choice has a probability above 0, and all
choices at one place sum to 1 (`training/vocabularies/words.py`).

The case of a piece is coded as a shape: unchanged, with a first capital, in capitals, in its usual form, letter by
letter, or, if no upper case leads back to the written letter ("ǅ", "ẞ"), byte by byte. One of them restores any written
form, unless the piece has no case. Quotes of one text mostly have one style, so their model is a Pólya urn (Eggenberger
and Pólya 1923) that starts from the shares of the training text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from math import lgamma, log
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from .word_pieces import Chunks

LOWER, CAPITAL, CAPITALS, USUAL, OTHER, SPELT, CASELESS = range(7)
"""Shapes of a piece. The last one has no choice; as a usual shape it is `UNKNOWN`: no usual shape is known."""
SHAPES = 6
UNKNOWN = CASELESS
CASES = (3, 7, 7, SHAPES)
"""Places, usual shapes, shapes before, shapes."""
IN_SENTENCE, AT_START, ELSEWHERE = range(3)
"""Places of a piece: after a word, number or comma; after the end of a sentence or first in the text; anywhere else."""
WORD, NUMBER, MARK = range(3)
"""Kinds of pieces with or without a space before them; all other pieces include the space themselves."""
QUOTES = {"'": ("'", "’", "‘"), '"': ('"', "“", "”")}
LN2 = log(2)
BYTE_NATS = log(257)
"""Cost of one of 256 bytes, or of the end."""


class SurfacePieces(NamedTuple):
    """The traits of D texts and their N pieces; pieces of texts that cannot be restored are left out.

    Attributes:
        regular_D: Whether the text can be restored from its pieces and the coded choices.
        row_N: Index of the text of each piece.
        kind_N: `WORD`, `NUMBER` or `MARK`; −1 for other pieces, before which no space is coded.
        spaced_N: Whether a coded space is before the piece (0 or 1).
        place_N: Place of the piece, see `IN_SENTENCE`.
        usual_N: Usual shape of the piece, or `UNKNOWN`.
        shape_N: Shape of the piece, see `shapes.LOWER`.
        shape_before_N: Shape of the piece before.
        letters_N: Number of letters (`OTHER`) or bytes (`SPELT`) coded one by one.
        before_N: Symbol of the piece before, an index into `symbols`.
        symbols: Names of the symbols.
    """

    regular_D: np.ndarray
    row_N: np.ndarray
    kind_N: np.ndarray
    spaced_N: np.ndarray
    place_N: np.ndarray
    usual_N: np.ndarray
    shape_N: np.ndarray
    shape_before_N: np.ndarray
    letters_N: np.ndarray
    before_N: np.ndarray
    symbols: list[str]


class Traits(NamedTuple):
    """The traits of one written form of a piece, and its effect on the piece after it."""

    kind: int
    spaced: bool
    usual: int
    shape: int
    letters: int
    place_after: int
    symbol: str


@dataclass(frozen=True)
class Surface:
    """Prices of what folding drops, in nats.

    Args:
        case: Price of each shape, by place, usual shape and shape before: `CASES`; empty if case is not folded.
        symbols: Distinct pieces before a gap; the last one means all others.
        gap: Prices of no space and of a space, by symbol before and kind: (symbols, 3, 2).
        quotes: Weights of the urn of each quote: straight, and its curly forms.
        regular: Prices of a text that its pieces restore, and of one that they do not: (2,).
    """

    case: np.ndarray
    symbols: Sequence[str]
    gap: np.ndarray
    quotes: Mapping[str, Sequence[float]]
    regular: Sequence[float]

    def nats(self, texts: pl.Series, pieces: SurfacePieces) -> np.ndarray:
        """Return −log p(text | pieces) of each text (D,); *pieces* is the result of `read` with these symbols."""
        choice_N = pieces.kind_N >= 0
        cased_N = pieces.shape_N < SHAPES
        nats_N = np.zeros(len(pieces.row_N))
        nats_N[choice_N] = self.gap[
            pieces.before_N[choice_N], pieces.kind_N[choice_N], pieces.spaced_N[choice_N]
        ]
        if self.case.size:
            nats_N[cased_N] += self.case[
                tuple(column_N[cased_N] for column_N in case_contexts(pieces))
            ]
            nats_N += pieces.letters_N * np.where(pieces.shape_N == SPELT, BYTE_NATS, LN2)

        priced_D = (
            np.bincount(pieces.row_N, nats_N, len(texts))
            + self.regular[0]
            + quote_nats(texts, self.quotes)
        )
        bytes_D = texts.str.len_bytes().cast(pl.Float64).to_numpy()
        spelt_D = self.regular[1] + (bytes_D + 1) * BYTE_NATS
        return np.where(pieces.regular_D, priced_D, spelt_D)

    @cached_property
    def _lists(self) -> tuple[Any, Any, dict[str, int]]:
        """The tables as lists, whose single items are read faster, and the index of each symbol."""
        return (
            self.case.tolist(),
            self.gap.tolist(),
            {symbol: number for number, symbol in enumerate(self.symbols)},
        )

    def nats_of_one(
        self,
        text: str,
        written: Sequence[str],
        folded: Sequence[str],
        traits_of: Callable[[str, str], Traits],
    ) -> float | None:
        """Return the `nats` of one text of ASCII and curly quotes; None where its pieces need `read`."""
        if len(written) != len(folded):
            return None

        case, gap, symbols = self._lists
        rest = symbols[""]
        nats = 0.0
        place = AT_START
        before = symbols.get("\n", rest)
        shape_before = CASELESS
        regular = sum(map(len, written)) == len(text)
        for form, piece in zip(written, folded, strict=True):
            low = form
            if case:
                low = form.lower()

            kind, spaced, usual, shape, letters, place_after, symbol = traits_of(
                form, form.removeprefix(" ").lower()
            )
            if piece not in (low, low.removeprefix(" ")):
                return None
            regular = regular and letters >= 0 and (piece == low or kind >= 0)
            priced = 0.0
            if kind >= 0:
                priced = gap[before][kind][spaced]

            if case:
                priced += case[place][usual][shape_before][shape] if shape < SHAPES else 0.0
                priced += letters * (BYTE_NATS if shape == SPELT else LN2)
            nats = nats + priced
            place = place_after
            before = symbols.get(symbol, rest)
            shape_before = shape

        if not regular:
            return self.regular[1] + (len(text.encode()) + 1) * BYTE_NATS

        return nats + self.regular[0] + quote_nats_of_one(text, self.quotes)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        quotes = {quote: list(weights) for quote, weights in self.quotes.items()}
        return {
            "case": self.case.tolist(),
            "symbols": list(self.symbols),
            "gap": self.gap.tolist(),
            "quotes": quotes,
            "regular": list(self.regular),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Surface:
        """Rebuild the prices from the result of `to_dict`; raise ValueError for other values."""
        symbols = list(values["symbols"])
        quotes = {key: list(weights) for key, weights in values["quotes"].items()}
        case = np.array(values["case"], np.float64)
        gap = np.array(values["gap"], np.float64)
        urns = np.array(list(quotes.values()), np.float64)
        regular = np.array(values["regular"], np.float64)
        tables = (case, gap, urns, regular)
        shapes = tuple(table.shape for table in tables)
        case_fits = case.shape == CASES or case.shape[:1] == (0,)
        if not case_fits or shapes[1:] != ((len(symbols), 3, 2), (2, 3), (2,)):
            raise ValueError(f"the price of case and spaces has tables of {shapes}")

        named = bool(symbols) and all(isinstance(symbol, str) for symbol in symbols)
        if set(quotes) != set(QUOTES) or not named:
            raise ValueError(
                "the price of case and spaces must name its quotes and the pieces before a space"
            )
        if not all(np.isfinite(table).all() and (table >= 0).all() for table in tables):
            raise ValueError("prices of case and spaces must be finite numbers, 0 or more")
        if (urns <= 0).any() or symbols[-1] or len(set(symbols)) < len(symbols):
            raise ValueError(
                "the price of case and spaces names a piece twice, or has a quote without weight"
            )

        return cls(
            case,
            tuple(symbols),
            gap,
            quotes,
            tuple(regular.tolist()),
        )


def read(
    written: pl.Series,
    folded: pl.Series,
    straight: pl.Series,
    chunks: Chunks,
    fold: bool,
    traits_of: Callable[[str, str], Traits],
    symbols: Sequence[str] = (),
) -> SurfacePieces:
    """Return the traits of the pieces of D texts, of which *chunks* has M distinct chunks with P pieces.

    Args:
        written: List of pieces of each chunk as they are written, each with the space before it, if there is one.
        folded: List of pieces of each chunk as they are in the vocabulary.
        straight: The chunks with straight quotes, from which *written* was cut.
        fold: Whether case is folded.
        traits_of: `traits` of a written form and its lower case.
        symbols: See `Surface`; empty: all that occur.
    """
    regular_M, widths_M = _regular_chunks(written, folded, straight)
    nonempty = pl.Series(widths_M > 0)
    ours = written.filter(nonempty).explode()
    theirs = folded.filter(nonempty).explode()
    alike_P, bare_P = _compare_pieces(ours, theirs, fold)
    odd = np.array([], np.int64)
    if fold:  # "Σ" has two lower cases, of which the piece alone may have the other
        odd = np.flatnonzero(~(alike_P | bare_P))
        bare_P[odd] = True

    traits_F, code_P = _traits_of_pieces(ours, theirs, odd, traits_of)
    known_symbols = list(symbols) or sorted({each.symbol for each in traits_F} | {"\n"})
    place = {symbol: number for number, symbol in enumerate(known_symbols)}
    rest = place.get("", 0)
    rows = [(*each[:-1], place.get(each.symbol, rest)) for each in traits_F]
    columns = np.array(rows, np.int64).reshape(-1, len(Traits._fields)).T[:, code_P]

    # A space is coded only before a word, a number or a mark; other pieces include the space themselves.
    odd_P = ~(alike_P | bare_P & (columns[0] >= 0)) | (columns[4] < 0)
    regular_M[np.repeat(np.arange(len(nonempty)), widths_M)[odd_P]] = False
    regular_D = ~chunks.texts_with(~regular_M)
    index_N, lengths_D = chunks.pieces(widths_M)
    row_N = np.repeat(np.arange(len(lengths_D)), lengths_D)
    if not regular_D.all():
        of_regular_N = regular_D[row_N]
        index_N = index_N[of_regular_N]
        row_N = row_N[of_regular_N]

    kind_N, spaced_N, usual_N, shape_N, letters_N, place_after_N, symbol_N = np.take(
        columns, index_N, axis=1
    )
    first_N = np.diff(row_N, prepend=-1) != 0

    def after(column_N: np.ndarray, at_start: int) -> np.ndarray:
        """Return the trait of the piece before each one; *at_start* for the first piece of a text."""
        return np.where(first_N, at_start, np.roll(column_N, 1))

    return SurfacePieces(
        regular_D,
        row_N,
        kind_N,
        spaced_N,
        after(place_after_N, AT_START),
        usual_N,
        shape_N,
        after(shape_N, CASELESS),
        letters_N,
        after(symbol_N, place.get("\n", rest)),
        known_symbols,
    )


def _regular_chunks(
    written: pl.Series,
    folded: pl.Series,
    straight: pl.Series,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which chunks have pieces that join to the chunk (M,), and the number of pieces of these (M,), else 0."""
    pieces = pl.lit(written).list
    characters = pl.element().str.len_chars()
    whole = pieces.eval(characters).list.sum() == pl.lit(straight).str.len_chars()
    facts = pl.select(
        width=pieces.len(), regular=whole & (pieces.len() == pl.lit(folded).list.len())
    )
    regular_M = facts["regular"].to_numpy().copy()
    return regular_M, np.where(regular_M, facts["width"].to_numpy(), 0)


def _compare_pieces(
    ours: pl.Series,
    theirs: pl.Series,
    fold: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which written pieces equal the folded ones (P,), with their space and without it."""
    low = ours
    if fold:
        low = ours.str.to_lowercase()

    alike_P = (low == theirs).to_numpy()
    bare_P = (low.str.strip_prefix(" ") == theirs).to_numpy().copy()
    return alike_P, bare_P


def _traits_of_pieces(
    ours: pl.Series,
    theirs: pl.Series,
    odd: np.ndarray,
    traits_of: Callable[[str, str], Traits],
) -> tuple[list[Traits], np.ndarray]:
    """Return the traits of the distinct forms of pieces, and for each piece the index of its form (P,).

    Args:
        ours: Pieces as they are written.
        theirs: Pieces as they are in the vocabulary.
        odd: Indexes of the pieces whose lower case is that of *theirs*.
        traits_of: As for `read`.
    """
    forms = ours.unique(maintain_order=True)
    code_P = ours.cast(pl.Enum(forms)).to_physical().to_numpy().astype(np.int64)
    lowered = forms.str.strip_prefix(" ").str.to_lowercase().to_list()
    every = list(map(traits_of, forms.to_list(), lowered))
    if len(odd):
        code_P[odd] = len(every) + np.arange(len(odd))
        every += map(traits_of, ours.gather(odd).to_list(), theirs.gather(odd).to_list())

    return every, code_P


def traits(
    form: str,
    lowered: str,
    fold: bool,
    casing: Mapping[str, str],
    vocabulary: Collection[str],
) -> Traits:
    """Return the traits of a written form; *lowered*: without its space, in lower case.

    Args:
        casing: Folded word → usual form, for words whose usual form is not the folded one.
        vocabulary: Words whose usual form is known.
    """
    spaced = form[0] == " "
    written = form.removeprefix(" ")
    folded = lowered if fold else written
    kind = {
        "L": WORD,
        "M": WORD,
        "N": NUMBER,
    }.get(unicodedata.category(folded[0])[0], -1)
    kind = MARK if folded[0] == "_" else kind
    usual = casing.get(folded, folded)
    shape = CASELESS
    letters = 0
    if fold:
        shape, letters = shape_of(written, folded, usual)

    usually = UNKNOWN
    if folded in vocabulary:
        usually = shape_of(usual, folded, usual)[0]

    place = ELSEWHERE
    if kind in (WORD, NUMBER) or written == ",":
        place = IN_SENTENCE

    if kind < 0 and set(written) & set(".!?\n"):
        place = AT_START

    symbol = {WORD: "a", NUMBER: "0"}.get(kind, form)
    return Traits(
        kind,
        spaced and kind >= 0,
        usually,
        shape,
        letters,
        place,
        symbol,
    )


def case_contexts(pieces: SurfacePieces) -> tuple[np.ndarray, ...]:
    """Return all that the price of each piece's shape depends on, and the shape: an index into `Surface.case`."""
    return pieces.place_N, pieces.usual_N, pieces.shape_before_N, pieces.shape_N


def shape_of(
    written: str,
    folded: str,
    usual: str,
) -> tuple[int, int]:
    """Return the shape of a piece, and the number of letters (`OTHER`) or bytes and end (`SPELT`) to code one by one.

    −1: the piece cannot be restored. It has no case, so nothing is coded, but the written form is another.
    """
    if folded == folded.upper():
        return CASELESS, 0 if folded == written else -1

    capital = _compose(folded[:1].upper() + folded[1:])
    capitals = _compose(folded.upper())
    for shape, form in {
        LOWER: folded,
        CAPITAL: capital,
        CAPITALS: capitals,
        USUAL: usual,
    }.items():
        if form == written:
            return shape, 0

    letters = written.replace("İ", "I\u0307")  # the only letter that becomes two when it is folded
    if (
        len(letters) == len(folded)
        and all(b in (a, a.upper()) for a, b in zip(folded, letters, strict=True))
        and _compose(letters) == written
    ):
        return OTHER, sum(letter.upper() != letter for letter in folded)

    return SPELT, len(written.encode()) + 1


def _compose(text: str) -> str:
    """Return the text with composed letters, as the normal form has them: so "i" and U+0307 lead back to "İ"."""
    return unicodedata.normalize("NFC", text)


def quote_nats(texts: pl.Series, weights: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Return −log of the urns' probability of the styles of all quotes of each text, in order (D,).

    Args:
        texts: D texts.
        weights: Weights of the urn of each quote, see `urns`.
    """
    nats_D = np.zeros(len(texts))
    counts = pl.select(counts_of_quotes(texts))
    for quote, forms in QUOTES.items():
        counts_DK = counts.select(forms).to_numpy()
        some = np.flatnonzero(counts_DK.sum(1))
        distinct_CK, which = np.unique(counts_DK[some], axis=0, return_inverse=True)
        nats_D[some] += np.array([_urn_nats(row_K, weights[quote]) for row_K in distinct_CK])[
            which.ravel()
        ]

    return nats_D


def quote_nats_of_one(text: str, weights: Mapping[str, Sequence[float]]) -> float:
    """Return the `quote_nats` of one text, without polars."""
    counts = {}
    for quote, forms in QUOTES.items():
        counts[quote] = [text.count(form) for form in forms]

    return sum(
        (
            _urn_nats(counts_K, weights[quote])
            for quote, counts_K in counts.items()
            if any(counts_K)
        ),
        0.0,
    )


def quote_shares(text: str, weights: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return the probability of each form of a quote after a text, by the straight quote: that of its urn."""
    shares_of_quotes = {}
    for quote, forms in QUOTES.items():
        counts = [
            weight + text.count(form) for weight, form in zip(weights[quote], forms, strict=True)
        ]
        shares_of_quotes[quote] = {
            form: count / sum(counts) for form, count in zip(forms, counts, strict=True)
        }
    return shares_of_quotes


def counts_of_quotes(texts: pl.Series) -> list[pl.Expr]:
    """Return how often each form of a quote is in each text, as columns."""
    every = chain(*QUOTES.values())
    return [pl.lit(texts).str.count_matches(form, literal=True).alias(form) for form in every]


def _urn_nats(counts_K: Sequence[int], weights_K: Sequence[float]) -> float:
    """Return −log of the urn's probability of these counts in one given order."""
    whole = sum(weights_K)
    nats = lgamma(whole + float(sum(counts_K))) - lgamma(whole)
    return nats - sum(
        lgamma(w + float(n)) - lgamma(w) for n, w in zip(counts_K, weights_K, strict=True)
    )
