"""Divide an interval among the characters that may come next, for writing with one pointer (Dasher).

A writer zooms into nested intervals: the one of a text is divided among the texts that are one character longer, each
as large as its probability. So a text takes as many bits of pointing as its code length under the model. (D. Ward and
D. MacKay (2002), "Fast hands-free writing by gaze direction", Nature.)

All ways to cut the last word into tokens are summed; the text before it counts as cut in the usual way. Characters
beyond ASCII share one interval, which is divided among them when it is entered. With a word vocabulary, spaces and
capitals are those that the model's text is written with, and unknown words are spelled.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from itertools import count
from math import log2
from typing import Literal, NamedTuple

import numpy as np

from ..base import ModelError
from ..bundles.bundle import Bundle
from ..tokens.vocabulary import Vocabulary
from ..tokens.word_pieces import STRAIGHT
from .reading import Ids, PrefixReader, Readers, Search, Steps, result_of, run_together
from .spellings import Node, Spellings
from .typed import LONGEST

Kind = Literal["character", "other", "end"]
NODES = 64
"""Intervals that one call divides at most."""
RARE = 1e-3
"""Beginnings of characters beyond ASCII below this share of all of them are left out."""


@dataclass
class DasherInterval:
    """The share of one way to continue a text.

    Args:
        kind: "character"; "other": all characters beyond ASCII; "end": the end of the review.
        symbol: The character; empty for other kinds.
        probability: Size, as a share of the interval of the text so far. Those of one text sum to 1.
        children: The intervals inside, if they were requested.
    """

    kind: Kind
    symbol: str
    probability: float
    children: list[DasherInterval] = field(default_factory=list)


def intervals(
    bundle: Bundle, text: str, stars: int | None = None, other: bool = False, smallest: float = 1.0,
    readers: Readers | None = None,
) -> list[DasherInterval]:  # fmt: skip
    """Return the intervals of the characters that may follow a text, in alphabetical order.

    Args:
        bundle: Model and vocabulary.
        text: The text so far.
        stars: Rating of the review; 0: a review without one; None: any.
        other: Only the characters beyond ASCII: divide the interval of kind "other".
        smallest: Intervals of at least this size, as a share of the whole, are divided too, at most `NODES` of them.
        readers: What earlier calls with this bundle have read; default: nothing.

    Raises:
        ModelError: kind "input": the rating or *smallest* is not valid.
    """
    return result_of(interval_steps(bundle, text, stars, other, smallest, readers))


def interval_steps(
    bundle: Bundle, text: str, stars: int | None = None, other: bool = False, smallest: float = 1.0,
    readers: Readers | None = None, known: dict[tuple[str, bool], list[DasherInterval]] | None = None,
) -> Steps[list[DasherInterval]]:  # fmt: skip
    """Divide as `intervals` does and return the intervals; yield before each batch that the model reads.

    Args: as for `intervals`; known: the divisions made so far, so that an interrupted call can be made again.
    """
    known = {} if known is None else known
    reader = _Reader.of(bundle, stars, readers)
    if not (isinstance(smallest, int | float) and 0 < smallest <= 1):
        raise ModelError(f"smallest is {smallest!r}; it must be above 0 and at most 1", "input")
    top = DasherInterval("character", "", 1.0)
    numbers, waiting = count(), [(-1.0, 0, top, text, other)]
    for _ in range(NODES if smallest < 1 else 1):
        share, _, parent, before, inside = heapq.heappop(waiting)
        if (before, inside) not in known:
            [known[before, inside]] = yield from run_together(reader.read, _divided(reader, before, inside))
        parent.children = [replace(child, children=[]) for child in known[before, inside]]
        for child in parent.children:
            if share * child.probability <= -smallest and child.kind != "end":
                entry = (share * child.probability, next(numbers), child, before + child.symbol, child.kind == "other")
                heapq.heappush(waiting, entry)
        if not waiting:
            break
    return top.children


def bits_to_write(bundle: Bundle, text: str, stars: int | None = None) -> float:
    """Return the bits that writing a text and its end takes: −log2 of the product of its nested intervals.

    Raises:
        ModelError: kind "input": a character has no interval, or the rating is not valid.
    """
    reader, bits = _Reader.of(bundle, stars), 0.0
    for place, char in enumerate([*text, ""]):
        path: list[tuple[Kind, str]] = [("character" if char else "end", char)]
        if not char.isascii():
            path = [("other", ""), ("character", char)]
        for step, (kind, symbol) in enumerate(path):
            [found] = result_of(run_together(reader.read, _divided(reader, text[:place], step == 1)))
            p = next((each.probability for each in found if (each.kind, each.symbol) == (kind, symbol)), 0.0)
            if p <= 0:
                raise ModelError(f"{char!r} cannot follow {text[:place][-30:]!r}", "input")
            bits -= log2(p)
    return bits


class _Reader(NamedTuple):
    """What texts are read with: the tokens before their own, and the reader of prefixes."""

    vocabulary: Vocabulary
    prefix: Ids
    read: PrefixReader

    @classmethod
    def of(cls, bundle: Bundle, stars: int | None, readers: Readers | None = None) -> _Reader:
        read, prefix = (readers or Readers(bundle)).of(stars)
        return cls(bundle.vocabulary, prefix, read)

    def after(self, context: str) -> Spellings:
        """Return the ways to continue a text in normal form."""
        ids = (*self.prefix, *self.vocabulary.encode(context).tolist())
        return Spellings(self.vocabulary, self.read, ids, context)


def _divided(reader: _Reader, text: str, other: bool) -> Search[list[DasherInterval]]:
    ways, node = yield from _located(reader, text)
    yield ways.unread([node])
    ways.extend([node])
    found = (yield from _other_characters(ways, node)) if other else _characters(ways, node)
    whole = sum(each.probability for each in found)
    if whole <= 0:
        return [DasherInterval("end", "", 1.0)]
    for each in found:
        each.probability /= whole
    return sorted((each for each in found if each.probability > 0), key=_order)


def _located(reader: _Reader, text: str) -> Search[tuple[Spellings, Node]]:
    """Return the ways to continue a text, and the node of its last word, with the white space before it."""
    run = text[len(text.rstrip()) :] if text[-1:].isspace() else text[-len(text.split()[-1]) :] if text else ""
    run = run[-LONGEST:]
    before = text[: len(text) - len(run)]
    blank = before[len(before.rstrip()) :] if not run.isspace() else run
    context = reader.vocabulary.normal_form.apply(before)
    if context:
        breaks = blank.count("\n")
        run = ("\n" * min(breaks, 2) or " " * bool(blank)) + ("" if run.isspace() else run)
    else:
        run = run.lstrip()
    straight = run.translate({ord(sign): plain for sign, plain in STRAIGHT.items()})
    for written in dict.fromkeys((run, straight, straight.lower(), straight.capitalize())):
        ways = reader.after(context)
        node = yield from ways.descend(written.encode("utf-8", "ignore"))
        if node is not None:
            return ways, node
    ways = reader.after(reader.vocabulary.normal_form.apply(text))
    return ways, ways.root


def _characters(ways: Spellings, node: Node) -> list[DasherInterval]:
    mass_C = ways.next_bytes(node)
    written = [DasherInterval("character", chr(byte), float(mass_C[byte])) for byte in (10, *range(32, 127))]
    other = DasherInterval("other", "", float(mass_C[0xC2:0xF5].sum()))
    return [*written, other, DasherInterval("end", "", ways.ends(node))]


def _other_characters(ways: Spellings, node: Node) -> Search[list[DasherInterval]]:
    """Return the characters beyond ASCII: their bytes are followed level by level."""
    mass_C, found, nodes = ways.next_bytes(node), [], [node]
    least, depth = RARE * float(mass_C[0xC2:0xF5].sum()), len(node.text)
    while nodes:
        yield ways.unread(nodes)
        ways.extend(nodes)
        begun = []
        for each in nodes:
            mass_C = ways.next_bytes(each)
            allowed = range(0xC2, 0xF5) if len(each.text) == depth else range(0x80, 0xC0)
            for byte in [byte for byte in np.flatnonzero(mass_C > least).tolist() if byte in allowed]:
                char = (each.text + bytes([byte]))[depth:].decode("utf-8", "ignore")
                longer = None if char else ways.child(each, byte)
                if longer is not None:
                    begun.append(longer)
                elif char.isprintable():
                    found.append(DasherInterval("character", char, float(mass_C[byte])))
        nodes = begun
    return found


def _order(interval: DasherInterval) -> tuple[int, str, str]:
    """Sort letters alphabetically, then digits, marks, white space, other characters, the end."""
    symbol = interval.symbol
    kinds = (symbol.isalpha(), symbol.isdigit(), bool(symbol.strip()), symbol == " ", symbol == "\n",
             interval.kind == "other", True)  # fmt: skip
    return kinds.index(True), symbol.lower(), symbol
