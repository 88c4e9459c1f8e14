"""Learn words: which are frequent, how they are usually written, and the prices of what the vocabulary leaves out.

A price is a cost in nats: of an unknown word (`models/tokens/spelling.py`), of case, spaces and quotes
(`models/tokens/surface.py`, which also says what an urn of a quote is).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

import numpy as np
import polars as pl

from reviewlm.models.base import ModelError
from reviewlm.models.threads import FanOut
from reviewlm.models.tokens.spelling import RARE, Repeats, Spelling
from reviewlm.models.tokens.surface import (
    CASES,
    QUOTES,
    SHAPES,
    Surface,
    SurfacePieces,
    case_contexts,
    counts_of_quotes,
)
from reviewlm.models.tokens.word_pieces import NO_SENTENCE_END, Chunks
from reviewlm.models.tokens.words import FIRST, WordUnit, cut, fold_texts
from reviewlm.training.vocabularies.text_parts import Sample, count_texts
from reviewlm.training.vocabularies.type_counts import TypeCounts

BEFORE = 60
"""Number of distinct pieces before a gap; words count as one, and so do numbers and all rarer pieces."""
SMOOTHING = 0.5
REPEATS = Repeats(discount=0.8, strength=4.0)
"""The cache of unknown words of new vocabularies. Vocabularies made before it have none, and keep their prices.

Best on the validation reviews of three sources, and flat: within 0.2 % from 0.7 to 0.9 and from 1 to 8.
"""


def train_words(
    texts: Iterable[str],
    size: int,
    min_count: int,
    fold: bool,
    work: Path | None = None,
    fan_out: FanOut = map,
) -> tuple[WordUnit, dict[str, int | float]]:
    """Train on the most frequent words, counted exactly in bounded memory; return the unit and facts about counts.

    Raises:
        ModelError: kind "input": no word is frequent enough.
    """
    word_counts = Words(size - FIRST, min_count)
    sample = Sample()
    with TypeCounts("surface", ["count", "middle"], work, share=_word(fold)) as counts:
        for counted in count_texts(texts, count_pieces, fan_out, sample):
            counts.add(counted)
        for part in counts.parts():
            word_counts.add(part.with_columns(word=_word(fold)))

    words = word_counts.kept["word"].to_list()
    if not words:
        raise ModelError(
            f"no word of the training text occurs at least {min_count} times; give more text or a lower min_count",
            "input",
        )

    casing = {}
    if fold:
        casing = usual_case(word_counts.forms, word_counts.kept)

    unit = WordUnit(
        words,
        fold,
        casing,
        Spelling(words, dict(word_counts.rare.select("word", "count").iter_rows()), REPEATS),
    )
    texts = pl.Series("text", sample.texts(), dtype=pl.String)
    straight = fold_texts(texts, fold=False)
    chunks = Chunks.single(texts)
    unit.surface = surface_of(
        texts, unit.surface_pieces(chunks, straight, unit.cut(straight)), fold
    )
    return unit, word_counts.facts()


class Words:
    """Statistics of the words of a text, added part by part; each distinct word is in exactly one part.

    Attributes:
        kept: The most frequent words so far: `word`, `count`, most frequent first, ties by text.
        rare: The most frequent of the other words, at most `RARE`; ties by a hash, so that they have all beginnings.
        forms: Written forms of the kept words: rows of `count_pieces` with `word`.
        types: Number of distinct words.
        occurrences: Number of all words.
    """

    def __init__(self, size: int, min_count: int) -> None:
        self._size = size
        self._min_count = min_count
        self.kept = self.rare = pl.DataFrame(
            schema={
                "word": pl.String,
                "count": pl.Int64,
                "hash": pl.UInt32,
            }
        )
        self.forms = pl.DataFrame()
        self.types = self.occurrences = 0

    def add(self, counts: pl.DataFrame) -> None:
        """Add the counts of some words, in all their forms: `surface, count, middle, word`."""
        totals = counts.group_by("word").agg(pl.col("count").sum())
        self.types += totals.height
        self.occurrences += int(totals["count"].sum())
        hashes = [crc32(word.encode()) for word in totals["word"].to_list()]
        rows = pl.concat(
            [self.kept, self.rare, totals.with_columns(hash=pl.Series(hashes, dtype=pl.UInt32))]
        )
        frequent = rows.filter(pl.col("count") >= self._min_count)
        self.kept = frequent.sort(-pl.col("count"), "word").head(self._size)
        self.rare = (
            rows.join(self.kept, on="word", how="anti")
            .sort(-pl.col("count"), "hash", "word")
            .head(RARE)
        )
        forms = counts.filter(pl.col("middle") > 0)
        if self.forms.width:
            self.forms = pl.concat([self.forms, forms])
        else:
            self.forms = forms

        self.forms = self.forms.join(self.kept, on="word", how="semi")

    def facts(self) -> dict[str, int | float]:
        """Return the number of counted words, and the share of the text that the kept words cover."""
        counted = int(self.kept["count"].sum())
        return {
            "types": self.types,
            "types_used": self.types,
            "occurrences": self.occurrences,
            "share_used": 1.0,
            "coverage": round(counted / max(self.occurrences, 1), 6),
        }


def _word(fold: bool) -> pl.Expr:
    if fold:
        return pl.col("surface").str.to_lowercase()
    return pl.col("surface")


def count_pieces(texts: list[str]) -> pl.DataFrame:
    """Count the pieces of some texts.

    Returns:
        One row per distinct surface: `surface`, `count`, and `middle`: how often it followed a word, a comma or "Dr.",
        where only names and acronyms begin with a capital.
    """
    chunks = Chunks.of(pl.Series("text", texts, dtype=pl.String))
    lists = cut(fold_texts(chunks.distinct, fold=False))
    widths_M = lists.list.len().to_numpy()
    pieces = lists.filter(widths_M > 0).explode()
    first_P = np.diff(np.repeat(np.arange(len(lists)), widths_M), prepend=-1) > 0

    before = pieces.shift(1).str.to_lowercase()
    titled = (pieces == ".") & before.is_in(list(NO_SENTENCE_END)).fill_null(False)
    leads_P = pieces.str.contains(r"^[\p{L}\p{N},]").to_numpy() | (titled.to_numpy() & ~first_P)

    leads_M = np.zeros(len(lists), bool)
    leads_M[widths_M > 0] = leads_P[np.roll(first_P, -1)]
    leads_N = leads_M[chunks.code_N]
    ends = chunks.offsets[1:][np.diff(chunks.offsets) > 0]
    follows_N = np.concatenate([[False], leads_N])
    # The last word of one text does not lead the first word of another.
    follows_N[chunks.offsets] = False

    counts_P = np.repeat(chunks.counts(), widths_M)
    firsts_P = np.repeat(chunks.counts(follows_N[:-1]), widths_M)
    middle_P = np.where(first_P, firsts_P, counts_P * np.roll(leads_P, 1))
    frame = pl.DataFrame(
        {
            "surface": pieces,
            "count": counts_P,
            "middle": middle_P,
        }
    )

    # One line break is counted for the end of each text.
    breaks = {
        "surface": ["\n"],
        "count": [len(texts)],
        "middle": [int(leads_N[ends - 1].sum())],
    }
    return (
        pl.concat([frame, pl.DataFrame(breaks)])
        .group_by("surface")
        .agg(pl.col("count", "middle").sum())
    )


def usual_case(forms: pl.DataFrame, words: pl.DataFrame) -> dict[str, str]:
    """Return folded word → most frequent form within sentences, for *words* that are not usually in lower case."""
    inside = forms.filter(pl.col("middle") > 0).join(words, on="word", how="semi")
    bare = inside.with_columns(pl.col("surface", "word").str.strip_chars(" "))
    counts = bare.group_by("word", "surface").agg(pl.col("middle").sum())
    # In a tie, the lower-case form wins: it sorts last, and the order is descending.
    ranked = counts.sort(["word", "middle", "surface"], descending=[False, True, True])
    most_frequent = ranked.unique("word", keep="first", maintain_order=True)
    usual = most_frequent.filter(pl.col("surface") != pl.col("word"))
    return dict(zip(usual["word"].to_list(), usual["surface"].to_list(), strict=True))


def surface_of(
    texts: pl.Series,
    pieces: SurfacePieces,
    fold: bool,
) -> Surface:
    """Estimate the prices from some texts; *pieces* is that of `WordUnit.surface_pieces` for them."""
    times = np.bincount(pieces.before_N, minlength=len(pieces.symbols)).tolist()
    counts = dict(zip(pieces.symbols, times, strict=True))
    ranked = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    common = [symbol for symbol, _ in ranked[:BEFORE]]
    place = {symbol: number for number, symbol in enumerate(common)}
    place_S = np.array([place.get(symbol, len(common)) for symbol in pieces.symbols], np.int64)
    before_N = place_S[pieces.before_N]
    choice_N = pieces.kind_N >= 0
    gap = _count_shares(
        (len(common) + 1, 3, 2),
        before_N[choice_N],
        pieces.kind_N[choice_N],
        pieces.spaced_N[choice_N],
    )
    cased_N = pieces.shape_N < SHAPES
    shapes = [column_N[cased_N] for column_N in case_contexts(pieces)]
    if fold:
        case = _count_shares(CASES, *shapes)
    else:
        case = np.zeros((0,))

    share = (SMOOTHING + np.array([pieces.regular_D.sum(), (~pieces.regular_D).sum()])) / (
        len(texts) + 1
    )
    return Surface(
        case,
        (*common, ""),
        gap,
        urns(texts),
        tuple(round_nats(-np.log(share)).tolist()),
    )


def urns(texts: pl.Series) -> dict[str, list[float]]:
    """Return the weights of the urn of each quote, one for each form: shares of the training texts."""
    sums = pl.select(count.sum() for count in counts_of_quotes(texts)).row(0, named=True)
    urns_of_quotes = {}
    for quote, forms in QUOTES.items():
        counts = np.array([sums[form] or 0 for form in forms], np.float64)
        urns_of_quotes[quote] = (
            round_nats((counts + SMOOTHING) / (counts + SMOOTHING).sum()).clip(1e-6).tolist()
        )
    return urns_of_quotes


def _count_shares(shape: tuple[int, ...], *index: np.ndarray) -> np.ndarray:
    """Count the index tuples and return −log of the smoothed shares along the last axis."""
    counts = np.full(shape, SMOOTHING)
    np.add.at(counts, tuple(column.astype(np.int64) for column in index), 1.0)
    return round_nats(-np.log(counts / counts.sum(-1, keepdims=True)))


def round_nats(nats: np.ndarray) -> np.ndarray:
    """Round the nats, so that the stored text is the same on every machine."""
    return np.round(nats, 6)
