"""Compute the probability that a text of a word vocabulary goes on with given characters, as they are written.

A word vocabulary drops case, the spaces between words, the style of quotes and the letters of unknown words; a score
adds a price for each (`models/tokens/surface.py`, `spelling.py`). Here the same prices divide the probability of each
token among the ways to write it. The next piece of a text is

- a known word in a usual shape ("Soup", "SOUP"), with or without a space: an entry of one sorted index;
- a known word of which each letter may be a capital ("sOUp"): letter by letter, over the words that begin so;
- an unknown word: letter by letter, too. While it is written, all shapes that its letters allow count.

So every text can be written, with at least the probability that its score says. A piece goes on, and the next one
begins without a space, only where `word_pieces.py` would cut the text so; what is left are few ways for each text.
Quotes are straight here; `dasher.py` divides them by style.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from ..tokens.special import UNK
from ..tokens.surface import (
    AT_START,
    CAPITAL,
    CAPITALS,
    CASELESS,
    CASES,
    LOWER,
    MARK,
    OTHER,
    SHAPES,
    UNKNOWN,
    WORD,
)
from ..tokens.vocabulary import Vocabulary
from ..tokens.word_pieces import cut_one
from ..tokens.words import FIRST, WordUnit
from .reading import Ids, PrefixReader, PrefixReading
from .spellings import Cutoffs, EntryIndex, Node, SequenceEnd, Spellings, TokenSequence, TokenSource

LETTER_SHAPES = [LOWER, CAPITAL, CAPITALS, OTHER]
"""Shapes of a word that is written letter by letter. Of the last one, each letter may be a capital."""
NO_KIND = MARK + 1
"""Kind of a piece that includes the space before it (−1 in `Traits`)."""
BYTE = 1 / 256
NOTHING = np.zeros(0, bool)
ENDINGS = ("", "x", "1", "com", "d", ")")
"""What may have to follow so that a letter is of the piece before it: "don'" + "x", "x." + "com", ":-" + ")"."""
LEADS = range(0xC2, 0xF5)
"""First bytes of characters beyond ASCII, in UTF-8."""
CONTINUATIONS = range(0x80, 0xC0)
"""Later bytes of characters beyond ASCII, in UTF-8."""


class Place(NamedTuple):
    """All of the text so far that the next piece depends on; the default: nothing is written.

    Args:
        place, shape_before, symbol: What its price depends on (`Traits`).
        piece: The last piece as it is in the vocabulary.
        unknown: The unknown words so far, on which the price of the next one depends (`Spelling.repeats`).
    """

    place: int = AT_START
    shape_before: int = CASELESS
    symbol: str = "\n"
    piece: str = ""
    unknown: tuple[str, ...] = ()


class Next(NamedTuple):
    """How a word may go on after its first letters.

    Args:
        p_L: Probability of each letter (`WrittenWords.letters`).
        other: Probability of all other letters.
        token: The word, if it may end here.
        end: Probability that it does.
    """

    p_L: np.ndarray
    other: float
    token: int
    end: float


class Sign(NamedTuple):
    """A way to write the next letter: as it is, as a capital, with the space before the word, or one of its bytes.

    Args:
        text: What is written, in UTF-8.
        letter: The letter as it is in the vocabulary, after the space if that is of the piece itself (" ("). Empty: a
            byte of another letter.
        kind: Kind of a piece that begins so.
        spaced: 1 if there is a space before the word that is not of the piece itself.
        cased: 0: the letter has no case; 1: lower case; 2: a capital.
    """

    text: bytes
    letter: str = ""
    kind: int = NO_KIND
    spaced: int = 0
    cased: int = 0


class Signs:
    """Some ways to write a letter, by their text, and as arrays.

    Args:
        signs: The ways.
        letters: All letters, in order.
    """

    def __init__(self, signs: Sequence[Sign], letters: str) -> None:
        self.signs = signs
        self.index = EntryIndex([sign.text for sign in signs], range(len(signs)))
        self.letter_S = np.array(
            [letters.find(sign.letter[-1:]) if sign.letter else -1 for sign in signs]
        )
        self.kind_S, self.spaced_S, self.cased_S = np.array(
            [sign[2:] for sign in signs], np.int64
        ).T
        self.in_piece_M = np.flatnonzero([len(sign.letter) > 1 for sign in signs])
        self.free_S = np.array([sign.text[:1] == b" " or not sign.letter for sign in signs])


@dataclass(frozen=True, eq=False)
class Letters:
    """A word that is written letter by letter.

    Args:
        after_letters: How a word goes on after its first letters, of those that it may be.
        before: The tokens before it.
        written: It so far.
        folded: The same as it is in the vocabulary.
        shapes: Probability of each of `LETTER_SHAPES`, given what is written.
        begun: First bytes of its next letter.
        unknown: It is no word of the vocabulary.
        earlier: The unknown words before it.
    """

    after_letters: Callable[[str], Next]
    before: Ids
    shapes: np.ndarray
    written: str = ""
    folded: str = ""
    begun: bytes = b""
    unknown: bool = False
    earlier: tuple[str, ...] = ()

    def cases(self) -> np.ndarray:
        """Return the probability of each shape together with each case of the next letter (3, 4)."""
        first = float(not self.folded.strip(" "))
        return np.array([[1, 1, 1, 1], [1, 1 - first, 0, 0.5], [0, first, 1, 0.5]]) * self.shapes

    def after(self, sign: Sign) -> Letters:
        """Return the word with one more letter, or one more byte of a letter."""
        if sign.letter:
            shapes = self.cases()[sign.cased]
            written = self.written + sign.text.decode()
            folded = self.folded + sign.letter
            return replace(
                self,
                written=written,
                folded=folded,
                shapes=shapes / (shapes.sum() or 1.0),
            )

        begun = self.begun + sign.text.lstrip()
        try:
            letter = begun.decode()
        except UnicodeDecodeError:
            return replace(self, begun=begun)

        return replace(
            self,
            written=self.written + letter,
            folded=self.folded + letter.lower(),
            begun=b"",
        )


@dataclass(frozen=True)
class FormSource(TokenSource):
    """The words of the vocabulary in their usual shapes; *earlier*: the unknown words before them."""

    earlier: tuple[str, ...] = field(kw_only=True)


@dataclass(frozen=True)
class LetterSource(TokenSource):
    """The ways to write the next letter of a word; the numbers of the index are those of *signs*."""

    letters: Letters = field(kw_only=True)
    signs: Sequence[Sign] = ()

    def between(self, low: int, high: int) -> float:
        """Return the probability of a range of entries: they are few."""
        assert self.p_V is not None
        return self.weight * float(self.p_V[self.index.ids_E[low:high]].sum())


class UnknownWords:
    """Words that the vocabulary does not have, as `Spelling` knows them.

    Args:
        unit: The vocabulary.
        letters: All letters.
    """

    def __init__(self, unit: WordUnit, letters: str) -> None:
        self._spelling = unit.spelling
        numbers = {char: number for number, char in enumerate(self._spelling.characters)}
        self._known_L = np.array([numbers.get(char, -1) for char in letters])
        self._other_L = BYTE ** np.array([len(char.encode()) for char in letters])
        self.after = lru_cache(maxsize=1 << 12)(self._after)

    def _after(self, beginning: str, earlier: tuple[str, ...]) -> Next:
        _, p_A, end = self._spelling.following(beginning, earlier)
        other = max(0.0, 1.0 - float(p_A.sum()) - end)
        p_L = np.where(self._known_L >= 0, p_A[self._known_L], other * self._other_L)
        return Next(p_L, other, UNK, end)


class CasedWords:
    """The words of the vocabulary that have case, sorted.

    Args:
        unit: The vocabulary.
        letters: All letters.
    """

    def __init__(self, unit: WordUnit, letters: str) -> None:
        named = sorted((unit.piece(token), token) for token in range(FIRST, unit.size))
        self.words = []
        tokens = []
        for word, token in named:
            if len(unit.forms(word)) > 1 and unit.traits(word).kind >= 0:
                self.words.append(word)
                tokens.append(token)

        self.token_W = np.array(tokens, np.int64)
        self.usual_W = np.array([unit.traits(word).usual for word in self.words], np.int64)
        self.letters = letters
        self.following = lru_cache(maxsize=1 << 12)(self._following)

    def _following(self, beginning: str) -> tuple[int, int, bool, np.ndarray]:
        """Return the range of the words that begin so, whether the first is no longer, and the next letter of each."""
        size = len(beginning)
        low = bisect_left(self.words, beginning)
        high = bisect_right(self.words, beginning, lo=low, key=lambda word: word[:size])
        ends = low < high and self.words[low] == beginning
        after = [self.letters.find(word[size]) for word in self.words[low + ends : high]]
        return low, high, ends, np.array(after, np.int64)

    def after(self, weight_W: np.ndarray, beginning: str) -> Next:
        """Return how a word that begins so goes on; *weight_W*: probability of each word."""
        low, high, ends, letter_N = self.following(beginning)
        weight_N = weight_W[low:high]
        whole = float(weight_N.sum()) or 1.0
        p_L = np.bincount(letter_N, weight_N[int(ends) :], minlength=len(self.letters)) / whole
        if not ends:
            return Next(p_L, 0.0, UNK, 0.0)
        return Next(p_L, 0.0, int(self.token_W[low]), float(weight_N[0]) / whole)


class WrittenWords:
    """All that the ways to write the words of a vocabulary have in common, whatever comes before.

    Args:
        unit: The words.
    """

    def __init__(self, unit: WordUnit) -> None:
        self.unit = unit
        surface = unit.surface
        words = [unit.piece(token) for token in range(FIRST, unit.size)]
        letters = "".join(
            sorted({*"".join(words), *unit.spelling.characters, *map(chr, range(32, 127)), "\n"})
        )
        self.unknown = UnknownWords(unit, letters)
        self.known = CasedWords(unit, letters)
        self.space = letters.index(" ")
        plain = _plain(letters)
        self._plain = "".join(sorted(set(plain)))
        self._plain_L = np.array([self._plain.index(letter) for letter in plain])
        self.may_follow = lru_cache(maxsize=1 << 12)(self._may_follow)
        self.may_go_on = lru_cache(maxsize=1 << 12)(self._may_go_on)
        later: list[Sign] = []
        for letter in letters:
            if not letter.isspace():
                later += self._ways(letter)

        leads = [Sign(bytes([byte]), "", WORD) for byte in LEADS]
        spaced = []
        for sign in (*later, *leads):
            with_space = sign._replace(text=b" " + sign.text)
            if sign.kind < NO_KIND:
                spaced.append(with_space._replace(spaced=1))
            else:
                spaced.append(with_space._replace(letter=" " + sign.letter))

        self.first = Signs([*later, *spaced, Sign(b"\n", "\n"), *leads], letters)
        self.later = Signs([*later, *leads], letters)
        self.inside = Signs([Sign(bytes([byte])) for byte in CONTINUATIONS], letters)
        self._symbols = {
            symbol: number for number, symbol in enumerate(surface.symbols if surface else [""])
        }
        if surface:
            self._gap = np.exp(-surface.gap)
        else:
            self._gap = np.full((1, NO_KIND, 2), 0.5)

        if surface and surface.case.size:
            self._case = np.exp(-surface.case)
        else:
            self._case = np.full(CASES, 1 / SHAPES)

        self._index_forms(words, letters)

    def _ways(self, letter: str) -> Iterator[Sign]:
        """Yield the ways to write a letter: as it is, and as a capital."""
        kind = self.unit.traits(letter).kind
        kind = kind if kind >= 0 else NO_KIND
        capital = letter.upper()
        is_one_letter = len(capital) == 1 and capital.lower() == letter
        cased = self.unit.folds and is_one_letter and letter != capital
        yield Sign(
            letter.encode(),
            letter,
            kind,
            0,
            int(cased),
        )
        if cased:
            yield Sign(
                capital.encode(),
                letter,
                kind,
                0,
                2,
            )

    def _index_forms(self, words: Sequence[str], letters: str) -> None:
        """Index every word in its usual shapes, with and without the space before it."""
        rows = []
        for token, word in enumerate(words, FIRST):
            for form in self.unit.forms(word):
                form_traits = self.unit.traits(form)
                kind = form_traits.kind if form_traits.kind >= 0 else NO_KIND
                for spaced in range(1 + (kind < NO_KIND)):
                    price = ((kind * 2 + spaced) * (UNKNOWN + 1) + form_traits.usual) * (
                        SHAPES + 1
                    ) + form_traits.shape
                    rows.append((b" " * spaced + form.encode(), token, price))

        texts, tokens, prices = zip(*sorted(rows), strict=True)
        self.forms = EntryIndex(texts, range(len(texts)))
        self.token_E = np.array(tokens, np.int64)
        self.price_E = np.array(prices, np.int64)
        firsts = [
            letters.find(text.decode()[0].lower()) if text[:1] != b" " else -1 for text in texts
        ]
        self.first_E = np.array(firsts, np.int64)

    def prices(self, place: Place) -> tuple[np.ndarray, np.ndarray]:
        """Return the probabilities of a space by kind (4, 2), of each shape by the usual one (7, 7), after a piece."""
        gap = self._gap[self._symbols.get(place.symbol, self._symbols[""])]
        case = self._case[place.place, :, place.shape_before]
        gap = np.concatenate([gap, np.ones((1, 2))])
        case = np.concatenate([case, np.ones((len(case), 1))], 1)
        return gap, case

    def place_after(self, piece: str, unknown: tuple[str, ...] = ()) -> Place:
        """Return the context that decides the cost of the next piece.

        Args:
            piece: The piece before it as it is written; "": the start.
            unknown: The unknown words so far.
        """
        if not piece:
            return Place()
        piece_traits = self.unit.traits(piece)
        folded = piece
        if self.unit.folds:
            folded = piece.lower()

        if piece_traits.kind >= 0:
            folded = folded.removeprefix(" ")

        return Place(
            piece_traits.place_after,
            piece_traits.shape,
            piece_traits.symbol,
            folded,
            unknown,
        )

    def _may_follow(self, piece: str) -> np.ndarray:
        """Return before which letters a piece ends if nothing is between them (L,)."""
        plain = _plain(piece)
        ends = [not plain or cut_one(plain + letter)[0] == plain for letter in self._plain]
        return np.array(ends)[self._plain_L]

    def _may_go_on(self, beginning: str) -> np.ndarray:
        """Return which letters may come next in a piece that begins so (L,)."""
        plain = _plain(beginning)

        def joins(letter: str) -> bool:
            return any(
                len(next(iter(cut_one(plain + letter + more)), "")) > len(plain) for more in ENDINGS
            )

        return np.array([joins(letter) for letter in self._plain])[self._plain_L]


class WordSpellings(Spellings):
    """The ways in which a text of a word vocabulary may go on, character by character.

    Args:
        vocabulary, reader, context, before, cutoffs: As for `Spellings`.
        inside: The text goes on inside its last word, whose letters count as a word of their own.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        reader: PrefixReader,
        context: Ids,
        before: str,
        cutoffs: Cutoffs,
        inside: bool = False,
    ) -> None:
        super().__init__(
            vocabulary,
            reader,
            context,
            before,
            cutoffs,
        )
        unit = vocabulary.word_unit
        assert unit is not None
        self._words = written_words(unit)
        place = self._words.place_after(unit.last_piece(before), unit.unknown_words(before))
        self.root = Node(
            b"",
            1.0,
            ended=[TokenSequence(context, 1.0, place._replace(piece="") if inside else place)],
        )

    def _fits(self, node: Node, rest: bytes) -> bool:
        return bool(node.ended)

    def _sources(
        self,
        node: Node,
        ended: TokenSequence,
        reading: PrefixReading,
    ) -> list[TokenSource]:
        words = self._words
        start = len(node.text)
        gap, case = words.prices(ended.after)
        may_L = words.may_follow(ended.after.piece)
        p_E = reading.p_V[words.token_E] * (gap[:, :, None, None] * case).ravel()[words.price_E]
        p_E *= may_L[words.first_E] | (words.first_E < 0)
        earlier = ended.after.unknown
        forms = FormSource(
            ended.weight,
            words.forms,
            _sums(p_E),
            start,
            ended.ids,
            p_E,
            earlier=earlier,
        )
        sources: list[TokenSource] = [forms]
        if words.unit.folds and len(words.known.token_W):
            weight_W = reading.p_V[words.known.token_W] * case[words.known.usual_W, OTHER]
            known_words = Letters(
                partial(words.known.after, weight_W),
                ended.ids,
                np.array([0, 0, 0, 1.0]),
                earlier=earlier,
            )
            sources.append(
                self._letters(
                    known_words,
                    ended.weight * float(weight_W.sum()),
                    start,
                    gap,
                    may_L,
                )
            )

        shapes = case[UNKNOWN, LETTER_SHAPES]
        unknown = Letters(
            partial(words.unknown.after, earlier=earlier),
            ended.ids,
            shapes / shapes.sum(),
            unknown=True,
            earlier=earlier,
        )
        sources.append(
            self._letters(
                unknown,
                ended.weight * float(reading.p_V[UNK]),
                start,
                gap,
                may_L,
            )
        )
        return sources

    def _letters(
        self,
        letters: Letters,
        weight: float,
        start: int,
        gap: np.ndarray | None = None,
        may_L: np.ndarray = NOTHING,
    ) -> LetterSource:
        """Return the ways to write the next letter.

        Args:
            letters: The word so far.
            weight: Its probability.
            start: Length of the text before the letter.
            gap: Probabilities of a space before the first letter; None: it is a later one.
            may_L: Whether each letter may come without one.
        """
        words = self._words
        signs = words.later if gap is None else words.first
        if letters.begun:
            signs = words.inside

        if letters.begun:
            p_S = np.full(len(signs.signs), BYTE)
        else:
            after = letters.after_letters(letters.folded)
            p_S = np.where(signs.letter_S >= 0, after.p_L[signs.letter_S], after.other * BYTE)
            p_S = p_S * letters.cases().sum(1)[signs.cased_S]
            if gap is None:
                may_L = words.may_go_on(letters.folded)

            p_S *= may_L[signs.letter_S] | signs.free_S
            if gap is not None:
                in_piece = letters.after_letters(" ").p_L[signs.letter_S[signs.in_piece_M]]
                p_S[signs.in_piece_M] = in_piece * after.p_L[words.space]
                p_S *= gap[signs.kind_S, signs.spaced_S]

        return LetterSource(
            weight,
            signs.index,
            NOTHING,
            start,
            letters.before,
            p_S,
            signs.signs,
            letters=letters,
        )

    def _end(self, node: Node, end: SequenceEnd) -> None:
        source = end.source
        entry = int(end.source.index.ids_E[end.place])
        if isinstance(source, FormSource):
            text = source.index.texts[end.place].decode()
            place = self._words.place_after(text, source.earlier)
            node.ended.append(
                TokenSequence((*source.ids, int(self._words.token_E[entry])), end.weight, place)
            )
            return

        assert isinstance(source, LetterSource)
        letters = source.letters.after(source.signs[entry])
        node.sources.append(self._letters(letters, end.weight, len(node.text)))
        after = None
        if not letters.begun:
            after = letters.after_letters(letters.folded)

        if after and after.end > 0:
            new = (letters.folded,) if after.token == UNK else ()
            place = self._words.place_after(letters.written, (*letters.earlier, *new))
            node.ended.append(
                TokenSequence((*letters.before, after.token), end.weight * after.end, place)
            )

    def _keep_likely(self, ends: list[SequenceEnd], least: float) -> list[SequenceEnd]:
        """Return the ends that are probable enough, and the best one of each kind of source."""
        kinds: dict[bool | None, list[SequenceEnd]] = {}
        for end in ends:
            kind = None
            if isinstance(end.source, LetterSource):
                kind = end.source.letters.unknown
            kinds.setdefault(kind, []).append(end)

        return [
            end
            for alike in kinds.values()
            for end in super(WordSpellings, self)._keep_likely(alike, least)
        ]

    def child(
        self,
        node: Node,
        byte: int,
        whole: float = 0.0,
    ) -> Node | None:
        """Return the node of the text and one more byte; sequences of the same tokens and effects are one."""
        child = super().child(node, byte, whole)
        if child and child.ended:
            together: dict[tuple[Ids, Place], float] = {}
            for ended in child.ended:
                key = ended.ids, ended.after
                together[key] = together.get(key, 0.0) + ended.weight
            best = max(together.values())
            least = self._cutoffs.sequence * (whole or child.mass)
            child.ended = []
            for (ids, place), p in together.items():
                if p > least or p == best:
                    child.ended.append(TokenSequence(ids, p, place))

        return child


@lru_cache(maxsize=4)
def written_words(unit: WordUnit) -> WrittenWords:
    """Return the written forms of a vocabulary's words; made once for each vocabulary."""
    return WrittenWords(unit)


def _plain(text: str) -> str:
    """Return a text of ASCII that is cut in the same places: other letters, digits and signs are as good as one."""
    alike = {
        "L": "x",
        "M": "x",
        "N": "1",
    }
    return "".join(
        char if char.isascii() else alike.get(unicodedata.category(char)[0], "~") for char in text
    )


def _sums(p_E: np.ndarray) -> np.ndarray:
    """Return cumulative sums, from 0 on (E + 1,)."""
    return np.concatenate([[0.0], np.cumsum(p_E)])
