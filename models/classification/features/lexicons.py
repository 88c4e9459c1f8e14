"""Count the words of lexicons in texts: lists of words, each with a weight, that a user names.

A lexicon is a text file (UTF-8) with one entry per line, alone or with its weight behind a tab; empty lines and lines
that begin with # are skipped. Entries and texts are compared in lower case, cut into the same words and signs as in a
word vocabulary (`models/tokens/word_pieces.py`), whatever the unit of the classifier's vocabulary. An entry may have
several words: "not good" counts where they are adjacent.

    c(lexicon, text) = Σ over its entries of weight · occurrences

Shapes: D texts, G lexicons, E nodes of one level, P words and signs of all texts, M of these at which a node begins.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ...base import ModelError
from ...text.normal_form import NormalForm
from ...tokens.word_pieces import cut, folded

FORM = "a line is a word, or a word, a tab and its weight"
Lexicon = Mapping[str, float]
"""Weight of each entry; an entry is its words in lower case, separated by single spaces."""


def read_lexicon(path: Path) -> Lexicon:
    """Return the entries of a lexicon's file, sorted.

    Raises:
        ModelError: kind "input": the file is not text in UTF-8 or has no entry; a line has another form, a weight that
            is not a finite number, or an entry of another line with another weight. The message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"the lexicon {path} cannot be read as text in UTF-8: {error}", "input") from error
    given = [(number, line.rstrip("\r")) for number, line in enumerate(lines, 1)]
    given = [(number, line) for number, line in given if line.strip() and not line.startswith("#")]
    words = _entries([line.partition("\t")[0] for _, line in given])
    entries: dict[str, tuple[float, int]] = {}
    for (number, line), word in zip(given, words, strict=True):
        place = f"line {number} of the lexicon {path}"
        weight = _weight(line, place)
        if not word:
            raise ModelError(f"{place} has no word: {FORM}", "input")
        first, before = entries.setdefault(word, (weight, number))
        if first != weight:
            what = f"{place} gives {word!r} the weight {weight:g}; line {before} gives it {first:g}"
            raise ModelError(f"{what}: remove one of them", "input")
    if not entries:
        raise ModelError(f"the lexicon {path} has no entry: {FORM}", "input")
    return {word: entries[word][0] for word in sorted(entries)}


def _entries(texts: Sequence[str]) -> list[str]:
    """Return the pieces of texts as they are compared: in normal form, in lower case, separated by single spaces."""
    form = NormalForm(mask_personal_data=False)
    pieces = cut(folded([form.apply(text) for text in texts], True)).list.eval(pl.element().str.strip_chars(" "))
    return [" ".join(some) for some in pieces.to_list()]


def _weight(line: str, place: str) -> float:
    _, tab, text = line.partition("\t")
    try:
        weight = float(text) if tab else 1.0
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise ModelError(f"{place} has the weight {text[:40]!r}, which is not a number: {FORM}", "input")
    return weight


def save_lexicons(path: Path, lexicons: Mapping[str, Lexicon]) -> None:
    """Write lexicons by name."""
    path.write_text(json.dumps(lexicons, ensure_ascii=False, sort_keys=True, indent=0) + "\n", encoding="utf-8")


def load_lexicons(path: Path) -> dict[str, Lexicon]:
    """Read lexicons that `save_lexicons` wrote.

    Raises:
        ValueError: The file has another form.
    """
    values: Any = json.loads(path.read_text(encoding="utf-8"))
    for name, lexicon in values.items():
        if not lexicon or not all(isinstance(weight, float) and math.isfinite(weight) for weight in lexicon.values()):
            raise ValueError(f"the lexicon {name!r} has no entries, or weights that are not numbers")
    return dict(values)


class LexiconCounter:
    """Count several lexicons at once.

    The entries are a tree of their words: level k has the different first k words of all entries. A word of a text that
    continues a node of one level leads to a node of the next.

    Args:
        lexicons: By name; columns of the counts have their order.
    """

    def __init__(self, lexicons: Mapping[str, Lexicon]) -> None:
        entries = [tuple(entry.split(" ")) for lexicon in lexicons.values() for entry in lexicon]
        self._columns = len(lexicons)
        self._ids = {
            word: number for number, word in enumerate(sorted({word for words in entries for word in words}), 1)
        }
        self._levels: list[tuple[np.ndarray, np.ndarray]] = []
        node: dict[tuple[str, ...], int] = {(): 0}
        for level in range(1, max(map(len, entries), default=0) + 1):
            begins = {words[:level] for words in entries if len(words) >= level}
            keys = {node[begin[:-1]] * self._size + self._ids[begin[-1]]: begin for begin in begins}
            ordered = [keys[key] for key in sorted(keys)]
            weights_EG = [[one.get(" ".join(begin), 0.0) for one in lexicons.values()] for begin in ordered]
            self._levels.append((np.array(sorted(keys), np.int64), np.array(weights_EG)))
            node = {begin: number for number, begin in enumerate(ordered)}

    @property
    def _size(self) -> int:
        return len(self._ids) + 1

    def counts(self, texts: pl.Series) -> np.ndarray:
        """Return the weighted number of entries of each lexicon in each text (D, G; float64)."""
        lists = cut(folded(texts, True))
        lengths = lists.list.len().to_numpy().astype(np.int64)
        pieces = lists.filter(lengths > 0).explode().str.strip_chars(" ")
        ids_P = pieces.replace_strict(self._ids, default=0, return_dtype=pl.Int64).to_numpy()
        rows_P, ends_P = (np.repeat(values, lengths) for values in (np.arange(len(texts)), np.cumsum(lengths)))
        counts_DG = np.zeros((len(texts), self._columns))
        begin_M, node_M = np.arange(len(ids_P)), np.zeros(len(ids_P), np.int64)
        for level, (keys_E, weights_EG) in enumerate(self._levels):
            inside_M = begin_M + level < ends_P[begin_M]
            begin_M, node_M = begin_M[inside_M], node_M[inside_M]
            keys_M = node_M * self._size + ids_P[begin_M + level]
            node_M = np.minimum(np.searchsorted(keys_E, keys_M), len(keys_E) - 1)
            known_M = keys_E[node_M] == keys_M
            begin_M, node_M = begin_M[known_M], node_M[known_M]
            for column, weights_E in enumerate(weights_EG.T):
                counts_DG[:, column] += np.bincount(rows_P[begin_M], weights_E[node_M], minlength=len(texts))
        return counts_DG
