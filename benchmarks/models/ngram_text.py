"""Write texts to race KenLM on: reviews as lines of words, and synthetic text of any length like them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from reviewlm.models.tokens.words import PATTERN
from reviewlm.training.ngram.lines.text_corpus import BEGIN, END, LineCorpus

CRAWL = "yelp_crawl_chicagoland.jsonl.gz"
HELD_OUT = 6
"""One of this number of reviews is held out."""
SAME_PAIR, SAME_WORD, ANYWHERE, COINED = 0.40, 0.12, 0.02, 0.003
"""Shares of words after which a synthetic review continues at another place, and the share of new words."""
REVIEWS = 20_000


def prepare(
    folder: Path,
    source: Path,
    reviews: int | None,
) -> tuple[Path, Path]:
    """Write reviews to train.txt and held_out.txt: in lower case, words separated by spaces, one review per line.

    Args:
        source: JSON lines with `text`, as in the data sets.
        reviews: Number of reviews to train on; None for all.
    """
    texts = pl.read_ndjson(source, schema_overrides={"text": pl.String})["text"]
    texts = pl.Series([html.unescape(text) for text in texts])
    cut = (
        texts.str.to_lowercase()
        .str.replace_all(r"[\s\x00]+", " ")
        .str.extract_all(PATTERN)
        .list.join(" ")
    )
    held = np.arange(len(cut)) % HELD_OUT == HELD_OUT - 1
    train = folder / "train.txt"
    held_out = folder / "held_out.txt"
    for path, chosen in ((train, ~held), (held_out, held)):
        lines = cut.filter(pl.Series(chosen)).head(
            reviews if reviews and path == train else len(cut)
        )
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    return train, held_out


def sentences(
    source: Path,
    target: Path,
    number: int,
) -> tuple[int, float]:
    """Write the first sentences of lines, one a line; return their number and their mean number of words.

    A sentence ends after a full stop, a question or an exclamation mark, or with its line.
    """
    found: list[str] = []
    with source.open(encoding="utf-8") as lines:
        for line in lines:
            ended = re.sub(r"(?<= )([.!?]+) ", r"\1\n", line.strip("\n"))
            found += [sentence for sentence in ended.split("\n") if sentence]
            if len(found) >= number:
                break

    found = found[:number]
    target.write_text("\n".join(found) + "\n", encoding="utf-8")
    return len(found), round(sum(len(sentence.split()) for sentence in found) / len(found), 1)


def more(
    source: Path,
    target: Path,
    tokens: int,
    seed: int = 1,
) -> int:
    """Write a synthetic text of at least *tokens* tokens similar to *source*, and return its number of tokens.

    A review is copied word by word from a place in the source. After each word it may continue at another place: after
    another occurrence of its last two words (bigrams and trigrams are those of the source, longer n-grams are new),
    after another occurrence of its last word (trigrams are new too), or anywhere. A word may also be a new one. So the
    number of different n-grams of every order keeps growing with the text, as in real text. With repeated text it would
    stay the same.
    """
    corpus = LineCorpus.read_file(source)
    draw = np.random.default_rng(seed)
    written = 0
    coined = 0
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
    """Yield arrays of the ids of many new reviews, each up to its `</s>`; the iterator never ends."""
    pair_T = np.empty(len(ids_T), np.int64)
    pair_T[0], pair_T[1:] = 0, ids_T[:-1].astype(np.int64) << 32
    by_pair = _Same(pair_T | ids_T)
    by_word = _Same(ids_T.astype(np.int64))
    begins = np.flatnonzero(ids_T == BEGIN)
    inside = np.flatnonzero(ids_T > END)
    while True:
        at_R = draw.choice(begins, REVIEWS) + 1
        review_R = np.arange(REVIEWS, dtype=np.uint16)
        tokens = []
        reviews = []
        while len(at_R):
            ids_R = ids_T[at_R]
            tokens.append(ids_R)
            reviews.append(review_R)
            going = ids_R != END
            at_R = at_R[going]
            review_R = review_R[going]
            chance_R = draw.random(len(at_R))
            pair = chance_R < SAME_PAIR
            word = (chance_R >= SAME_PAIR) & (chance_R < SAME_PAIR + SAME_WORD)
            at_R[pair], at_R[word] = by_pair(at_R[pair], draw), by_word(at_R[word], draw)
            anywhere = np.flatnonzero(chance_R > 1 - ANYWHERE)
            at_R[anywhere] = draw.choice(inside, len(anywhere))
            at_R += 1
        yield np.concatenate(tokens)[np.argsort(np.concatenate(reviews), kind="stable")]


class _Same:
    """Random draw of another position with the same key."""

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
