"""Code any bytes with a language model, and with adaptive counts what its tokens leave out.

A document is a line. Its tokens are coded with the probabilities of the model. A vocabulary of words drops spaces, case
and the style of quotes; they are coded after each token, relative to what the vocabulary would write. An unknown word
is spelt with the vocabulary's character model, which prices it in scores, too. A document that its tokens do not give
back (no UTF-8, letters whose case cannot be restored) is coded byte by byte.

Every function here both writes and reads: a `RangeEncoder` codes what is given, a `RangeDecoder` returns it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from reviewlm.course.uses.range_coder import (
    Adaptive,
    Distribution,
    RangeDecoder,
    RangeEncoder,
    Uniform,
)
from reviewlm.models.bundles.any_rating import AnyRating
from reviewlm.models.bundles.bundle import Bundle
from reviewlm.models.tokens.special import EOS, UNK
from reviewlm.models.tokens.word_pieces import pieces_of, straighten_quotes
from reviewlm.models.tokens.words import WordUnit

TOKENS, BYTES, EMPTY = range(3)
"""How a document is coded."""
AS_WRITTEN, TOGGLED, OTHER = range(3)
"""The space before a piece: that of the vocabulary, none instead of one (or one instead of none), or any other."""
FORMS = 4
"""Number of forms of a piece: as the vocabulary writes it, folded, with a first capital, in capitals."""
LETTERS = 4
"""A further form: the letters one by one."""
QUOTES = {"'": "'’‘", '"': '"“”'}
LONGEST_PIECE = 200
"""Characters of the longest piece that is spelt."""
MOST_CONTEXTS = 4_096
SETTLED = 48
"""Tokens of a document after which its most probable rating so far is taken for its rating: reading it with each one
costs five times as much. On 64 reviews of the grammar, of 90 tokens each, that makes the file 1.1 % larger."""
END = 256
"""After the last byte of a string."""
Coder = RangeEncoder | RangeDecoder


@dataclass
class Document:
    """A line, while it is coded.

    Args:
        content: Its bytes; empty when it is read.
        ends: Whether a line break follows.
        tokens: Its tokens and how they are written; empty when it is read, or where bytes are coded.
    """

    content: bytes = b""
    ends: bool = True
    tokens: list[tuple[int, Written]] = field(default_factory=list)


@dataclass(frozen=True)
class Written:
    """How a token stands in its text.

    Args:
        piece: The piece of a vocabulary of words, folded.
        gap: White space before it.
        body: Its characters.
    """

    piece: str = ""
    gap: str = ""
    body: str = ""


class Counts:
    """Adaptive counts by their context."""

    def __init__(self) -> None:
        self._tables: dict[tuple[Hashable, ...], Adaptive] = {}

    def code(
        self,
        coder: Coder,
        context: tuple[Hashable, ...],
        first: Sequence[int],
        symbol: int | None,
    ) -> int:
        """Code a symbol in its context, and count it.

        Args:
            context: A name, and what else the symbol depends on. Beyond `MOST_CONTEXTS`, the name alone.
            first: Counts of a context that is met for the first time.
        """
        if context not in self._tables and len(self._tables) >= MOST_CONTEXTS:
            context = context[:1]
        table = self._tables.get(context) or self._tables.setdefault(context, Adaptive(first))
        symbol = coder.code(table, symbol)
        table.add(symbol)
        return symbol

    def string(
        self,
        coder: Coder,
        name: str,
        content: bytes | None,
    ) -> bytes:
        """Code a string of any bytes, each in the context of the one before."""
        before = END
        read = bytearray()
        for byte in [*content, END] if content is not None else iter(int, 1):
            before = self.code(
                coder, (name, before), [1] * 257, byte if content is not None else None
            )
            if before == END:
                break
            read.append(before)

        return bytes(read)


class TextCoder:
    """The code of the documents of one stream.

    Args:
        bundle: The model and its vocabulary.
        tell: Called with the number of tokens that were coded at a time.
    """

    def __init__(self, bundle: Bundle, tell: Callable[[int], None] = lambda tokens: None) -> None:
        self._tell = tell
        self._vocabulary = bundle.vocabulary
        self._unit = bundle.vocabulary.word_unit
        self._model, self._prefix = bundle.reader(None)
        self._rated = bundle.model
        self._counts = Counts()

    def prepare(self, content: bytes, ends: bool) -> Document:
        """Return a line with its tokens, if they give it back."""
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return Document(content, ends)

        if self._unit is not None:
            return Document(content, ends, _align(self._unit, text) if content else [])

        ids = []
        if text:
            ids = self._vocabulary.encode(text).tolist()

        same = UNK not in ids and self._vocabulary.decode(ids) == text
        return Document(
            content, ends, [(token, Written()) for token in [*ids, EOS]] if same and ids else []
        )

    def code(self, coder: Coder, documents: Sequence[Document]) -> int:
        """Code some documents side by side; when they are read, their contents are filled in.

        Returns:
            The number of their tokens.
        """
        writes = isinstance(coder, RangeEncoder)
        of_tokens: list[Document] = []
        for document in documents:
            way = None
            if writes:
                way = TOKENS if document.tokens else BYTES if document.content else EMPTY

            way = self._counts.code(coder, ("way",), [8, 1, 1], way)
            document.ends = bool(
                self._counts.code(coder, ("ends",), [1, 8], int(document.ends) if writes else None)
            )
            if way == BYTES:
                document.content = self._counts.string(
                    coder, "bytes", document.content if writes else None
                )
            elif way == TOKENS:
                of_tokens.append(document)

        if of_tokens:
            return self._code_tokens(coder, of_tokens)
        return 0

    def _code_tokens(self, coder: Coder, documents: Sequence[Document]) -> int:
        """Code the tokens of some documents: the first of each, then the second, …; the model reads them together."""
        live = [
            LineInCode(document, self._unit, isinstance(coder, RangeEncoder))
            for document in documents
        ]
        model = self._model
        state = model.start(len(live))
        count = 0
        for token in self._prefix:
            logp_BV, state = model.step(np.full(len(live), token), state)

        for read in itertools.count():
            if not live:
                break
            if read == SETTLED and isinstance(model, AnyRating):
                logp_BV, state = model.likeliest(state)
                model = self._rated
            p_BV = np.exp(torch.log_softmax(logp_BV.double(), 1).cpu().numpy())
            ids = []
            count += len(live)
            self._tell(len(live))
            for line, p_V in zip(live, p_BV, strict=True):
                line.token, written = line.next()
                line.token = coder.code(Distribution(p_V), line.token)
                self._code_written(coder, line, written)
                ids.append(line.token)
            going = [row for row, token in enumerate(ids) if token != EOS]
            for line in live:
                if line.token == EOS:
                    line.finish(self._vocabulary.decode)
            live = [live[row] for row in going]
            if live:
                logp_BV, state = model.step(
                    np.array([ids[row] for row in going]), state.take(going)
                )

        return count

    def _code_written(
        self,
        coder: Coder,
        line: LineInCode,
        written: Written | None,
    ) -> None:
        """Code how a token is written, and add it to the line."""
        if self._unit is None or line.page is None:
            line.read.append(line.token or 0)
            return

        piece = self._code_piece(coder, line, written)
        shown = ""
        if piece:
            shown = line.page.shown(piece)

        gap = self._code_gap(
            coder,
            line,
            shown,
            piece,
            written,
        )
        body = ""
        if piece:
            body = self._code_body(
                coder,
                line,
                shown.strip(" "),
                piece.strip(" "),
                written,
            )

        line.text.append(gap + body)
        if piece:
            line.page.write(piece)
            line.before = "a"
            if not piece[-1].isalnum():
                line.before = piece.strip(" ")

    def _code_piece(
        self,
        coder: Coder,
        line: LineInCode,
        written: Written | None,
    ) -> str:
        """Return the piece of a line's token; an unknown one is spelt: "" at the end of the text."""
        assert self._unit is not None
        token = line.token or 0
        if token != UNK:
            if token != EOS:
                return self._unit.piece(token)
            return ""

        spelling = self._unit.spelling
        piece = ""
        characters = spelling.characters
        other = len(characters)
        end = len(characters) + 1
        while True:
            _, p_A, p_end = spelling.following(piece, line.unknown)
            p_S = np.append(p_A, [max(0.0, 1.0 - float(p_A.sum()) - p_end), p_end])
            symbol = None
            if written is not None:
                rest = written.piece[len(piece) :]
                symbol = end
                if rest:
                    symbol = characters.find(rest[0]) % (other + 1)
            symbol = coder.code(Distribution(p_S), symbol)
            if symbol == end:
                line.unknown.append(piece)
                return piece
            piece += (
                characters[symbol]
                if symbol < other
                else self._code_character(coder, piece, written)
            )

    def _code_character(
        self,
        coder: Coder,
        piece: str,
        written: Written | None,
    ) -> str:
        """Code a character that no training word has, as its number in Unicode."""
        point = None
        if written is not None:
            point = ord(written.piece[len(piece)])

        high = self._counts.code(
            coder, ("plane",), [1] * 0x1100, None if point is None else point >> 8
        )
        return chr(high << 8 | coder.code(Uniform(256), None if point is None else point & 255))

    def _code_gap(
        self,
        coder: Coder,
        line: LineInCode,
        shown: str,
        piece: str,
        written: Written | None,
    ) -> str:
        """Code the white space before a piece, or at the end."""
        usual = shown[: len(shown) - len(shown.lstrip(" "))]
        toggled = "" if usual else " "
        symbol = None
        if written is not None:
            symbol = {usual: AS_WRITTEN, toggled: TOGGLED}.get(written.gap, OTHER)

        kind: str | bool = "end"
        if piece:
            kind = piece.strip(" ")[:1].isalnum()

        symbol = self._counts.code(coder, ("gap", usual, kind, line.before), [60, 1, 1], symbol)
        if symbol == OTHER:
            return self._counts.string(
                coder, "gap", written.gap.encode() if written is not None else None
            ).decode()

        return (usual, toggled)[symbol]

    def _code_body(
        self,
        coder: Coder,
        line: LineInCode,
        shown: str,
        piece: str,
        written: Written | None,
    ) -> str:
        """Code the characters of a piece."""
        forms = [shown, piece, piece[:1].upper() + piece[1:], piece.upper()]
        if len(set(forms)) > 1:
            straight = None
            if written is not None:
                straight = straighten_quotes(written.body)

            symbol = None
            if straight is not None:
                symbol = forms.index(straight) if straight in forms else LETTERS

            starts = line.page.place[1] if line.page is not None else False
            context = ("form", starts, line.form, [form == shown for form in forms].count(True))
            line.form = self._counts.code(coder, context, [60, 2, 2, 2, 1], symbol)
            if line.form < FORMS:
                body = forms[line.form]
            else:
                body = self._code_letters(coder, piece, straight)
        else:
            body = piece

        return self._code_quotes(coder, body, written.body if written is not None else None)

    def _code_letters(
        self,
        coder: Coder,
        piece: str,
        straight: str | None,
    ) -> str:
        """Code which letters of a piece are capitals."""
        letters = []
        for place, low in enumerate(piece):
            capital = None
            if straight is not None:
                capital = int(straight[place] != low)

            letters.append(
                low.upper() if self._counts.code(coder, ("capital",), [1, 1], capital) else low
            )
        return "".join(letters)

    def _code_quotes(
        self,
        coder: Coder,
        body: str,
        written: str | None,
    ) -> str:
        """Code the style of quotes."""
        if "'" not in body and '"' not in body:
            return body
        styled = []
        for place, char in enumerate(body):
            if char in QUOTES:
                style = None
                if written is not None:
                    style = QUOTES[char].index(written[place])

                char = QUOTES[char][self._counts.code(coder, ("quote", char), [8, 1, 1], style)]
            styled.append(char)
        return "".join(styled)


class LineInCode:
    """A document whose tokens are coded side by side with others."""

    def __init__(
        self,
        document: Document,
        unit: WordUnit | None,
        writes: bool,
    ) -> None:
        self._document = document
        self._given = None
        if writes:
            self._given = iter(document.tokens)

        self.page = None
        if unit is not None:
            self.page = unit.page_after("")

        self.read: list[int] = []
        self.text: list[str] = []
        self.token: int | None = None
        self.form = 0
        self.before = ""
        self.unknown: list[str] = []

    def next(self) -> tuple[int | None, Written | None]:
        """Return the next token and how it is written; None, None when it is read."""
        if self._given is not None:
            return next(self._given)
        return (None, None)

    def finish(self, decode: Callable[[list[int]], str]) -> None:
        """Fill in what was read."""
        if self._given is None:
            if self.page is not None:
                text = "".join(self.text)
            else:
                text = decode(self.read[:-1])

            self._document.content = text.encode()


def _align(unit: WordUnit, text: str) -> list[tuple[int, Any]]:
    """Return the tokens of a text and how they are written; empty if that does not give it back."""
    tokens: list[tuple[int, Written]] = []
    at = 0
    pieces = pieces_of(text, unit.folds)
    for token, piece in zip(unit.encode(text).tolist(), pieces, strict=True):
        bare = piece.strip(" ")
        body_at = at
        while text[body_at : body_at + 1].isspace():
            body_at += 1
        body = text[body_at : body_at + len(bare)]
        if not _restores(body, bare, unit.folds) or (token == UNK and len(piece) > LONGEST_PIECE):
            return []
        tokens.append((token, Written(piece, text[at:body_at], body)))
        at = body_at + len(bare)

    if not tokens or text[at:].strip():
        return []

    return [*tokens, (EOS, Written(gap=text[at:]))]


def _restores(
    body: str,
    piece: str,
    folds: bool,
) -> bool:
    """Return whether the written form of a piece can be coded."""
    straight = straighten_quotes(body)
    if not folds:
        return straight == piece
    return len(straight) == len(piece) and all(
        char in (low, low.upper()) for char, low in zip(straight, piece, strict=True)
    )
