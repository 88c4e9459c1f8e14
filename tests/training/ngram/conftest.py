"""Tiny streams and corpora for the n-gram tests."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from reviewlm.models.ngram.lookup import Followers
from reviewlm.models.ngram.tables import Precision, Tables
from reviewlm.training.ngram.lines.text_corpus import LineCorpus


class Stream:
    """The parts of a TokenStream that n-gram models use."""

    def __init__(
        self, documents: Sequence[Sequence[int]], authors: Sequence[int] | None = None
    ) -> None:
        self.authors = None if authors is None else np.array(authors, np.int32)
        self.ids = np.array([token for document in documents for token in document], np.uint16)
        self.offsets = np.cumsum([0, *map(len, documents)])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def require(self, vocabulary) -> None:
        """Any vocabulary will do."""


@pytest.fixture(scope="session")
def stream_of() -> Callable[[Sequence[Sequence[int]]], Stream]:
    return Stream


@pytest.fixture(scope="session")
def reviews_of() -> Callable[[int, int, int], list[list[int]]]:
    """Make documents `<bos> <stars_k> w… <eos>` of random words 9 … V − 1 (and now and then `<unk>`), Zipf-like."""

    def make(
        number: int,
        vocabulary_size: int,
        seed: int,
    ) -> list[list[int]]:
        draw = np.random.default_rng(seed)
        documents = []
        for _ in range(number):
            words = np.minimum(8 + draw.zipf(1.4, draw.integers(0, 12)), vocabulary_size - 1)
            words[draw.random(len(words)) < 0.03] = 0
            documents.append([1, int(draw.integers(3, 9)), *map(int, words), 2])
        return documents

    return make


@pytest.fixture(scope="session")
def random_tables() -> Callable[..., Tables]:
    """Make a model of any order, also above those that are fitted: the n-grams of random lines, with random numbers."""

    def make(
        order: int,
        vocabulary_size: int = 40,
        precision: Precision = "double",
        seed: int = 0,
    ) -> Tables:
        draw = np.random.default_rng(seed)
        ids = np.array([0, *range(3, 9), vocabulary_size - 2, vocabulary_size - 1])
        lines = [
            (1, *draw.choice(ids[draw.integers(1, 4) :], draw.integers(0, 14)).tolist(), 2)
            for _ in range(60)
        ]
        row_of = {(token,): token for token in range(vocabulary_size)}
        keys, sizes = [], [vocabulary_size]
        for k in range(2, order + 1):
            seen = {line[at : at + k] for line in lines for at in range(len(line) - k + 1)}
            numbered = sorted(
                (row_of[ngram[:-1]] * vocabulary_size + ngram[-1], ngram) for ngram in seen
            )
            keys.append(np.array([key for key, _ in numbered], np.int64))
            row_of |= {ngram: row for row, (_, ngram) in enumerate(numbered)}
            sizes.append(len(numbered))
        logp = [-draw.exponential(3, size) for size in sizes]
        backoff = [-draw.exponential(1, size) for size in sizes[:-1]]
        below = zip(keys, sizes, strict=False)
        followers = tuple(
            Followers.from_keys(keys_M, size, vocabulary_size) for keys_M, size in below
        )
        return Tables(
            followers,
            tuple(logp),
            tuple(backoff),
            vocabulary_size,
            (1,),
        ).to(precision)

    return make


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def golden_text(golden_folder) -> Callable[..., LineCorpus]:
    def read(name: str, words: Sequence[str] | None = None) -> LineCorpus:
        lines = (
            (golden_folder / f"{name}.txt")
            .read_text(encoding="utf-8")
            .removesuffix("\n")
            .split("\n")
        )
        return LineCorpus.read(lines, words)

    return read


@pytest.fixture
def pipe_of(tmp_path) -> Iterator[Callable[[bytes], Path]]:
    """Make a named pipe that gives some bytes, once, the first of them alone."""
    threads = []

    def make(content: bytes) -> Path:
        path = tmp_path / f"pipe_{len(threads)}"
        os.mkfifo(path)

        def write() -> None:
            with path.open("wb", buffering=0) as pipe:
                for piece in (content[:1], content[1:]):
                    pipe.write(piece)

        threads.append(threading.Thread(target=write, daemon=True))
        threads[-1].start()
        return path

    yield make
    for thread in threads:
        thread.join(10)
