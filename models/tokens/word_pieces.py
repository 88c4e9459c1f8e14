"""Cut a text into words, numbers, punctuation and line breaks by one regular expression of polars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache, reduce

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
ASCII_RANGES = {r"\p{L}": "A-Za-z", r"\p{M}": "", r"\p{N}": "0-9"}
STRAIGHT = {"’": "'", "‘": "'", "“": '"', "”": '"'}
_STRAIGHT = str.maketrans(STRAIGHT)


def _of_ascii(pattern: str) -> str:
    """Return a pattern with the letters and digits of ASCII in place of all, in Python's syntax."""

    def narrowed(match: re.Match[str]) -> str:
        ranges = reduce(lambda text, names: text.replace(*names), ASCII_RANGES.items(), match[0])
        return ranges if ranges[0] == "[" else f"[{ranges}]"

    return re.sub(r"\[(?:[^\]\\]|\\.)+\]|\\p\{[LMN]\}", narrowed, pattern)


ASCII_PATTERN = _of_ascii(PATTERN).replace(r"\b", r"(?-u:\b)")
"""The same for ASCII texts. Each call of polars builds the automaton again: that of all letters takes 6 ms."""
_ONE, _ONE_SPACED = (re.compile(form.format(_of_ascii(PATTERN)), re.ASCII) for form in ("{}", " ?(?:{})"))


def straightened(text: str) -> str:
    """Return a text with straight quotes, see `folded`."""
    return text if text.isascii() else text.translate(_STRAIGHT)


def cut_one(text: str, spaced: bool = False) -> list[str]:
    """Return the pieces of one ASCII text, as `cut` does; *spaced*: each with the space before it, if there is one."""
    return (_ONE_SPACED if spaced else _ONE).findall(text)


def folded(texts: Sequence[str] | pl.Series, fold: bool) -> pl.Series:
    """Return the texts with straight quotes, and in lower case if *fold* is set."""
    straight = pl.Series("text", texts, dtype=pl.String).str.replace_many(list(STRAIGHT), list(STRAIGHT.values()))
    return straight.str.to_lowercase() if fold else straight


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
    rest, other_D = texts.slice(first), other_D[first:]
    order = np.argsort(np.argsort(other_D, kind="stable"))
    some = zip((~other_D, other_D), (ASCII_PATTERN, PATTERN), strict=True)
    cuts = [rest.filter(mask_D).str.extract_all(form.format(pattern)) for mask_D, pattern in some]
    return pl.concat([texts.head(first).str.extract_all(form.format(ASCII_PATTERN)), pl.concat(cuts).gather(order)])


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


def moved(straight: pl.Series) -> np.ndarray:
    """Return in which chunks folding moves a cut, see `written_pieces`; only in those that are not ASCII."""
    other_M = not_ascii(straight)
    moved_M = np.zeros(len(straight), bool)
    if other_M.any():
        others = straight.filter(other_M)
        moved_M[other_M] = (cut(others).list.len() != cut(others.str.to_lowercase()).list.len()).to_numpy()
    return moved_M


def _cut_as(text: str, pieces: Sequence[str]) -> list[str]:
    """Return the pieces of a text whose folded pieces are these; fewer where one of its signs belongs to two."""
    parts, place = [], 0
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
    if (plain := straightened(text)).isascii():
        return tuple(cut_one(plain.lower() if fold else plain))
    straight = pl.lit(text).str.replace_many(list(STRAIGHT), list(STRAIGHT.values()))
    return tuple(pl.select((straight.str.to_lowercase() if fold else straight).str.extract_all(PATTERN)).item())
