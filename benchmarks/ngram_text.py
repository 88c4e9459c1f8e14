"""Texts for `benchmarks/ngram.py`: reviews as lines of words, and as much more of the same kind as is wanted."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from models.ngram.lines.text_corpus import BEGIN, END, LineCorpus
from models.tokens.words import PATTERN

CRAWL = "yelp_crawl_chicagoland.jsonl.gz"
HELD_OUT = 6
"""Every so many-th review is held out."""
SAME_PAIR, SAME_WORD, ANYWHERE, COINED = 0.40, 0.12, 0.02, 0.003
"""How often a synthetic review goes on elsewhere after a word, and how often a word is one of its own."""
REVIEWS = 20_000


def prepare(folder: Path, source: Path, reviews: int | None) -> tuple[Path, Path]:
    """Write reviews in lower case, words between blanks, one review a line: train.txt and held_out.txt.

    Args:
        source: JSON lines with `text`, as in the data sets.
        reviews: Only so many to train on; None for all.
    """
    texts = pl.read_ndjson(source, schema_overrides={"text": pl.String})["text"]
    texts = pl.Series([html.unescape(text) for text in texts])
    cut = texts.str.to_lowercase().str.replace_all(r"[\s\x00]+", " ").str.extract_all(PATTERN).list.join(" ")
    held = np.arange(len(cut)) % HELD_OUT == HELD_OUT - 1
    train, held_out = folder / "train.txt", folder / "held_out.txt"
    for path, chosen in ((train, ~held), (held_out, held)):
        lines = cut.filter(pl.Series(chosen)).head(reviews if reviews and path == train else len(cut))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return train, held_out


def more(source: Path, target: Path, tokens: int, seed: int = 1) -> int:
    """Write a text of at least *tokens* tokens that goes on as *source* does, and return how many it has.

    A review is copied word by word from a place of the source; after each word it may go on elsewhere: behind another
    occurrence of its last two words (bigrams and trigrams then are the source's, longer n-grams are new), behind
    another occurrence of its last word (trigrams are new too), or anywhere; and it may take a word of its own. So the
    number of different n-grams of every order goes on growing with the text, as that of real text does, where repeats
    would leave it as it is.
    """
    corpus = LineCorpus.read_file(source)
    draw, written, coined = np.random.default_rng(seed), 0, 0
    words = pl.Series(corpus.words)
    with target.open("w", encoding="utf-8") as file:
        for ids_T in _reviews(corpus.ids, draw):
            text = words.gather(ids_T)
            new = np.flatnonzero((draw.random(len(ids_T)) < COINED) & (ids_T > END))
            names = pl.Series([f"w{coined + n}" for n in range(len(new))], dtype=pl.String)
            if len(new):
                text = text.scatter(new, names)
            coined += len(new)
            ends = np.cumsum(ids_T == END) - (ids_T == END)
            lines = pl.DataFrame({"line": ends, "word": text}).filter(pl.Series(ids_T > END))
            joined = lines.group_by("line", maintain_order=True).agg(pl.col("word").str.join(" "))
            file.write("\n".join(joined["word"]) + "\n")
            written += len(lines)
            if written >= tokens:
                return written
    return written


def _reviews(ids_T: np.ndarray, draw: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the ids of many new reviews, each up to its `</s>`, without end."""
    pair_T = np.empty(len(ids_T), np.int64)
    pair_T[0], pair_T[1:] = 0, ids_T[:-1].astype(np.int64) << 32
    by_pair, by_word = _Same(pair_T | ids_T), _Same(ids_T.astype(np.int64))
    begins, inside = np.flatnonzero(ids_T == BEGIN), np.flatnonzero(ids_T > END)
    while True:
        at_R, review_R = draw.choice(begins, REVIEWS) + 1, np.arange(REVIEWS, dtype=np.uint16)
        tokens, reviews = [], []
        while len(at_R):
            ids_R = ids_T[at_R]
            tokens.append(ids_R)
            reviews.append(review_R)
            going = ids_R != END
            at_R, review_R = at_R[going], review_R[going]
            chance_R = draw.random(len(at_R))
            pair, word = chance_R < SAME_PAIR, (chance_R >= SAME_PAIR) & (chance_R < SAME_PAIR + SAME_WORD)
            at_R[pair], at_R[word] = by_pair(at_R[pair], draw), by_word(at_R[word], draw)
            anywhere = np.flatnonzero(chance_R > 1 - ANYWHERE)
            at_R[anywhere] = draw.choice(inside, len(anywhere))
            at_R += 1
        yield np.concatenate(tokens)[np.argsort(np.concatenate(reviews), kind="stable")]


class _Same:
    """Another place with the same key, drawn at random."""

    def __init__(self, key_T: np.ndarray) -> None:
        self.order_T = np.argsort(key_T, kind="stable").astype(np.int32)
        sorted_T = key_T[self.order_T]
        first = np.flatnonzero(np.append(True, sorted_T[1:] != sorted_T[:-1]))
        self.number_T = np.empty(len(key_T), np.int32)
        self.first_T = np.empty(len(key_T), np.int32)
        number = np.diff(first, append=len(key_T))
        self.number_T[self.order_T] = np.repeat(number, number)
        self.first_T[self.order_T] = np.repeat(first, number)

    def __call__(self, at_R: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        chosen = (draw.random(len(at_R)) * self.number_T[at_R]).astype(np.int64)
        return self.order_T[self.first_T[at_R] + chosen]
