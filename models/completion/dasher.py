"""Divide an interval among the characters that may come next, for writing with one pointer (Dasher).

A writer zooms into nested intervals: the one of a text is divided among the texts that are one character longer, each
as large as its probability. So a text takes as many bits of pointing as its code length under the model. (D. Ward and
D. MacKay (2002), "Fast hands-free writing by gaze direction", Nature.)

All probable ways to cut the last word into tokens are summed; the text before it counts as cut in the usual way. Each
character that may follow has an interval, however improbable, so that each text can be written. Characters beyond ASCII
share one interval, which is divided by their bytes (UTF-8), one after another, as they are entered. With a word
vocabulary, case, spaces, quotes and unknown words have the sizes that a score charges.
"""

from __future__ import annotations

import heapq
from codecs import getincrementaldecoder
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from typing import Literal, NamedTuple

import numpy as np

from ..base import ModelError
from ..bundles.bundle import Bundle
from ..text.given import given_text
from ..text.normal_form import require_unicode
from ..tokens.surface import quote_shares
from ..tokens.vocabulary import Vocabulary
from ..tokens.word_pieces import STRAIGHT, straighten_quotes
from .reading import Ids, PrefixReader, Readers, Search, Steps, result_of, run_together
from .spellings import REACHABLE, Node, Spellings
from .typed import LONGEST_DIVIDED
from .word_spellings import WordSpellings

Kind = Literal["character", "other", "end"]
NODES = 64
"""Intervals that one call divides at most."""
SMALLEST = 1e-200
"""Probability of the last word below which it counts as cut in the usual way, too: smaller numbers, times those of the
next characters, would become 0."""
LONGEST_WORD = 48
"""Characters at the end of a text that are read as they are written, for word vocabularies."""
Inside = bytes | None
"""What of an interval's characters is divided: None: all; bytes: those beyond ASCII that begin with these."""


@dataclass
class DasherInterval:
    """The share of one way to continue a text.

    Args:
        kind: "character"; "other": characters beyond ASCII; "end": the end of the review.
        symbol: The character; empty for other kinds.
        probability: Size, as a share of the interval of the text so far. Those of one text sum to 1.
        children: The intervals inside, if they were requested.
        begun: Of kind "other": the bytes with which its characters begin, in hexadecimal; empty: any beyond ASCII.
    """

    kind: Kind
    symbol: str
    probability: float
    children: list[DasherInterval] = field(default_factory=list)
    begun: str = ""


def intervals(
    bundle: Bundle,
    text: str,
    stars: int | None = None,
    other: bool = False,
    smallest: float = 1.0,
    readers: Readers | None = None,
    begun: str = "",
) -> list[DasherInterval]:
    """Return the intervals of the characters that may follow a text, in alphabetical order.

    Args:
        bundle: Model and vocabulary.
        text: The text so far.
        stars: Rating of the review; 0: a review without one; None: any.
        other: Only the characters beyond ASCII: divide the interval of kind "other".
        smallest: Intervals of at least this size, as a share of the whole, are divided too, at most `NODES` of them.
        readers: What earlier calls with this bundle have read; default: nothing.
        begun: With *other*: only those that begin with these bytes (`DasherInterval.begun`).

    Raises:
        ModelError: kind "input": the rating, *smallest* or *begun* is not valid.
    """
    return result_of(
        interval_steps(
            bundle,
            text,
            stars,
            other,
            smallest,
            readers,
            begun=begun,
        )
    )


def interval_steps(
    bundle: Bundle,
    text: str,
    stars: int | None = None,
    other: bool = False,
    smallest: float = 1.0,
    readers: Readers | None = None,
    divisions: dict[tuple[str, Inside], list[DasherInterval]] | None = None,
    begun: str = "",
) -> Steps[list[DasherInterval]]:
    """Divide as `intervals` does and return the intervals; yield before each batch that the model reads.

    Args: as for `intervals`; divisions: those made so far, so that an interrupted call can be made again.
    """
    require_unicode(given_text(text, "text"))
    divisions = {} if divisions is None else divisions
    reader = _Reader.of(bundle, stars, readers)
    if not (isinstance(smallest, int | float) and 0 < smallest <= 1):
        raise ModelError(f"smallest is {smallest!r}; it must be above 0 and at most 1", "input")

    top = DasherInterval("other" if other else "character", "", 1.0, begun=begun)
    numbers = count()
    waiting = [(-1.0, 0, top, text)]
    for _ in range(NODES if smallest < 1 else 1):
        share, _, parent, before = heapq.heappop(waiting)
        inside = _characters_inside(parent)
        if (before, inside) not in divisions:
            [divisions[before, inside]] = yield from run_together(
                reader.read, _divide(reader, before, inside)
            )
        parent.children = [replace(child, children=[]) for child in divisions[before, inside]]
        for child in parent.children:
            if share * child.probability <= -smallest and child.kind != "end":
                heapq.heappush(
                    waiting,
                    (share * child.probability, next(numbers), child, before + child.symbol),
                )
        if not waiting:
            break

    return top.children


def _characters_inside(interval: DasherInterval) -> Inside:
    """Return the characters among which an interval of the alphabet after a text is divided.

    Raises:
        ModelError: kind "input": no character begins so.
    """
    if interval.kind != "other":
        if interval.begun:
            raise ModelError("begun only takes effect with other", "input")
        return None

    begun = None
    with suppress(ValueError):
        begun = bytes.fromhex(interval.begun)

    # An unfinished character is "", a whole one is itself, and bytes of none are None.
    if begun is None or (begun and character_of(begun) != ""):
        allowed = "the first bytes (UTF-8) of characters beyond ASCII, in hexadecimal"
        raise ModelError(f"begun is {interval.begun[:20]!r}; it must be {allowed}", "input")

    return begun


class _Reader(NamedTuple):
    """The means to read texts: vocabulary, the tokens before their own, and the reader of prefixes."""

    vocabulary: Vocabulary
    prefix: Ids
    read: PrefixReader

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        stars: int | None,
        readers: Readers | None = None,
    ) -> _Reader:
        read, prefix = (readers or Readers(bundle)).of(stars)
        return cls(bundle.vocabulary, prefix, read)

    def after(self, context: str, inside: bool = False) -> Spellings:
        """Return the ways to continue a text in normal form; *inside*: within its last word."""
        ids = (*self.prefix, *self.vocabulary.encode(context).tolist())
        if self.vocabulary.word_unit:
            return WordSpellings(
                self.vocabulary,
                self.read,
                ids,
                context,
                REACHABLE,
                inside,
            )

        return Spellings(
            self.vocabulary,
            self.read,
            ids,
            context,
            REACHABLE,
        )

    def quotes(self, text: str) -> dict[str, dict[str, float]]:
        """Return how quotes after a text are divided by their style; empty: not at all."""
        unit = self.vocabulary.word_unit
        if unit and unit.surface:
            return quote_shares(text, unit.surface.quotes)
        return {}


def _divide(
    reader: _Reader,
    text: str,
    inside: Inside,
) -> Search[list[DasherInterval]]:
    ways, node = yield from _locate(reader, text)
    yield from ways.extend([node])
    quotes = _curly(ways.next_bytes(node), reader.quotes(text))
    if inside is None:
        children = _characters(ways, node, quotes)
    else:
        children = yield from _other_characters(ways, node, inside, quotes)

    whole = sum(each.probability for each in children)
    if whole <= 0:
        return [DasherInterval("end", "", 1.0)]

    for each in children:
        each.probability /= whole

    return sorted((each for each in children if each.probability > 0), key=_order)


def _locate(reader: _Reader, text: str) -> Search[tuple[Spellings, Node]]:
    """Return the ways to continue a text, and the node of its last word, with the white space before it."""
    run = ""
    if text[-1:].isspace():
        run = text[len(text.rstrip()) :]
    elif text:
        run = text[-len(text.split()[-1]) :]

    word_unit = reader.vocabulary.word_unit
    whole = len(run)
    run = run[-(LONGEST_WORD if word_unit else LONGEST_DIVIDED) :]
    inside = len(run) < whole and not run.isspace()
    before = text[: len(text) - len(run)]
    blank = run
    if not run.isspace():
        blank = before[len(before.rstrip()) :]

    context = reader.vocabulary.normal_form.apply(before)
    if context:
        breaks = blank.count("\n")
        run = ("\n" * min(breaks, 2) or " " * bool(blank)) + ("" if run.isspace() else run)
    else:
        run = run.lstrip()

    if word_unit:
        run = straighten_quotes(run)

    ways = reader.after(context, inside)
    node = yield from ways.descend(run.encode())
    if node is not None and node.mass > SMALLEST:
        return ways, node

    ways = reader.after(reader.vocabulary.normal_form.apply(text), inside=True)
    return ways, ways.root


def _curly(mass_C: np.ndarray, quotes: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the probability of each curly quote, which is taken from the straight one."""
    masses: dict[str, float] = {}
    for straight, shares in quotes.items():
        whole = float(mass_C[ord(straight)])
        masses |= {
            form: whole * share for form, share in shares.items() if form != straight and whole
        }
    return masses


def _characters(
    ways: Spellings,
    node: Node,
    curly: Mapping[str, float],
) -> list[DasherInterval]:
    mass_C = ways.next_bytes(node)
    other = float(mass_C[0xC2:0xF5].sum()) + sum(curly.values())
    for form, mass in curly.items():
        mass_C[ord(STRAIGHT[form])] -= mass

    written = [
        DasherInterval("character", chr(byte), float(mass_C[byte]))
        for byte in (10, *range(32, 127))
    ]
    return [
        *written,
        DasherInterval("other", "", other),
        DasherInterval("end", "", ways.ends(node)),
    ]


def _other_characters(
    ways: Spellings,
    node: Node,
    begun: bytes,
    curly: Mapping[str, float],
) -> Search[list[DasherInterval]]:
    """Return the characters beyond ASCII that begin so, and the intervals of those that need more bytes."""
    for byte in begun:
        longer = ways.child(node, byte)
        if longer is None:
            return []
        node = longer
        yield from ways.extend([node])

    children = []
    if not begun:
        children = [DasherInterval("character", form, mass) for form, mass in curly.items()]

    mass_C = ways.next_bytes(node)
    for byte in np.flatnonzero(mass_C).tolist():
        bytes_ = begun + bytes([byte])
        if char := character_of(bytes_):
            children += (
                [DasherInterval("character", char, float(mass_C[byte]))]
                if char not in curly
                else []
            )
        elif char is not None:
            children.append(DasherInterval("other", "", float(mass_C[byte]), begun=bytes_.hex()))

    return children


def _order(interval: DasherInterval) -> tuple[int, str, str]:
    """Sort letters alphabetically, then digits, marks, white space, other characters, the end."""
    symbol = interval.symbol
    kinds = (
        symbol.isalpha(),
        symbol.isdigit(),
        bool(symbol.strip()),
        symbol == " ",
        symbol == "\n",
        interval.kind == "other",
        True,
    )
    return kinds.index(True), symbol.lower(), symbol or interval.begun


@lru_cache(maxsize=1 << 14)
def character_of(begun: bytes) -> str | None:
    """Return the character beyond ASCII of some bytes, "" if more have to follow; None if there is none for people.

    Control characters, surrogates and code points without a character are not for people.
    """
    try:
        char = getincrementaldecoder("utf-8")().decode(begun)
    except UnicodeDecodeError:
        return None

    if char or not begun:
        return char if char.isprintable() and not char.isascii() else None

    size = 4
    if begun[0] < 0xE0:
        size = 2
    elif begun[0] < 0xF0:
        size = 3

    first = begun[0] & (0x7F >> size)
    for byte in begun[1:]:
        first = first << 6 | byte & 0x3F

    low, high = (end << 6 * (size - len(begun)) for end in (first, first + 1))
    if any(chr(code).isprintable() for code in range(low, min(high, 0x110000))):
        return ""
    return None
