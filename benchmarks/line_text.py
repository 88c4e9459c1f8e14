"""Read texts with one sentence or review per line, as in language modelling benchmarks, and make token streams of them.

Such a text is already cut into words, with a fixed vocabulary, so none of the pipeline's stages is needed. Every line
is followed by `<eos>`. The words and `<eos>` are scored, as in word_language_model and the literature.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reviewlm.models.streams import TokenStream
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import BOS, EOS, STARS, UNK
from reviewlm.models.tokens.vocabulary import BOUNDARY_POLICY
from reviewlm.models.tokens.words import FIRST, cut, fold_texts

UNKNOWN = "<unk>"
LANES = 10
"""Number of documents of a held-out stream: word_language_model scores ten streams side by side."""


@dataclass(frozen=True)
class LineText:
    """Lines of words for training, validation and test, and the words by id, most frequent first."""

    lines: Mapping[str, Sequence[Sequence[str]]]
    words: Sequence[str]

    @classmethod
    def of(cls, lines: Mapping[str, Sequence[Sequence[str]]], min_count: int = 1) -> LineText:
        """Keep the words that occur at least *min_count* times in the training lines; others become `<unk>`.

        With *min_count* 1 the words of all splits are in the vocabulary, as in word_language_model.
        """
        counts = Counter(word for line in lines["train"] for word in line)
        if min_count == 1:
            for split in lines.values():
                counts.update({word: 0 for line in split for word in line})

        kept = {word for word, count in counts.items() if count >= min_count or min_count == 1} - {
            UNKNOWN
        }
        known = {
            name: [[word if word in kept else UNKNOWN for word in line] for line in split]
            for name, split in lines.items()
        }
        return cls(known, sorted(kept, key=lambda word: (-counts[word], word)))

    @property
    def size(self) -> int:
        """Number of entries of the vocabulary, including special tokens."""
        return FIRST + len(self.words)

    def write(self, folder: Path) -> Path:
        """Write `train.txt`, `valid.txt` and `test.txt` for a peer; return the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, split in self.lines.items():
            (folder / f"{name}.txt").write_text(
                "".join(" ".join(line) + "\n" for line in split), encoding="utf-8"
            )
        return folder

    def stream(self, split: str, documents: int = 1) -> TokenStream:
        """Return a split as one continuous text, cut between tokens into *documents* parts, each with `<bos>` first."""
        tokens = np.concatenate(self._ids(split))
        parts = [np.concatenate([[BOS], part]) for part in np.array_split(tokens, documents)]
        return self._as_stream(split, parts, len(tokens), "continuous")

    def reviews(self, split: str) -> TokenStream:
        """Return a split in the pipeline's form; each line is a review with unknown rating."""
        parts = [np.concatenate([[BOS, STARS[0]], part]) for part in self._ids(split)]
        return self._as_stream(split, parts, sum(map(len, parts)) - 2 * len(parts), BOUNDARY_POLICY)

    def _ids(self, split: str) -> list[np.ndarray]:
        number = {word: FIRST + index for index, word in enumerate(self.words)} | {UNKNOWN: UNK}
        return [np.array([*map(number.__getitem__, line), EOS]) for line in self.lines[split]]

    def _as_stream(
        self,
        split: str,
        parts: Sequence[np.ndarray],
        tokens: int,
        policy: str,
    ) -> TokenStream:
        ids = np.concatenate(parts).astype(np.uint16 if self.size <= 1 << 16 else np.uint32)
        header = {
            "tokens": tokens,
            "vocabulary_size": self.size,
            "vocabulary_digest": self.digest,
            "boundary_policy": policy,
            "sha256": {"ids.bin": hashlib.sha256(ids.tobytes()).hexdigest()},
        }
        return TokenStream(
            Path(split),
            header,
            ids,
            np.concatenate([[0], np.cumsum([len(part) for part in parts])]),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the words, in their order."""
        return hashlib.sha256("\n".join(self.words).encode()).hexdigest()


def penn_treebank(data: Path) -> LineText:
    """Return Mikolov's Penn Treebank, which has 10,000 words and already contains `<unk>`."""
    folder = data / "ptb_lm_benchmark"
    return LineText.of(
        {name: list(_split_lines(folder / f"{name}.txt.gz")) for name in ("train", "valid", "test")}
    )


def sentences(data: Path) -> LineText:
    """Return the short Yelp sentences, shuffled: 90 % for training, 5 % for validation, 5 % for test."""
    folder = data / "shen2017_sentences"
    lines = [
        line for sign in (0, 1) for line in _split_lines(folder / f"sentiment.dev.{sign}.txt.gz")
    ]
    return LineText.of(_shares(lines))


def kaggle_reviews(data: Path, min_count: int = 3) -> LineText:
    """Return the 10,000 full-length Kaggle reviews in the pipeline's words, folded; words seen thrice are kept."""
    with gzip.open(data / "kaggle_yelp_10k.csv.gz", "rt", encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    return LineText.of(_shares(_words(texts)), min_count)


def chicago_reviews(data: Path, min_count: int = 8) -> LineText:
    """Return the crawl of the Chicago area in the split by business that the data's description defines."""
    splits: dict[str, list[str]] = {
        "train": [],
        "valid": [],
        "test": [],
    }
    with gzip.open(data / "yelp_crawl_chicagoland.jsonl.gz", "rb") as file:
        for line in io.BufferedReader(file):  # type: ignore[arg-type]
            row = json.loads(line)
            bucket = int(hashlib.sha1(row["business_id"].encode()).hexdigest(), 16) % 100
            splits["test" if bucket < 5 else "valid" if bucket < 10 else "train"].append(
                row["text"]
            )
    return LineText.of({name: _words(texts) for name, texts in splits.items()}, min_count)


TEXTS = {
    "ptb": penn_treebank,
    "sentences": sentences,
    "kaggle": kaggle_reviews,
    "chicago": chicago_reviews,
}
"""Functions that read a text from the folder of the data, by name."""


def _split_lines(path: Path) -> Iterator[list[str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from (line.split() for line in file if line.strip())


def _words(texts: Iterable[str]) -> list[list[str]]:
    """Cut texts into folded words as the pipeline does; remove the spaces of words, keep line breaks as `<line>`."""
    normal = NormalForm()
    pieces = cut(fold_texts([normal.apply(text) for text in texts], True))
    return [
        [piece.strip(" ").replace("\n", "<line>") for piece in line]
        for line in pieces.to_list()
        if line
    ]


def _shares(lines: list[list[str]]) -> dict[str, list[list[str]]]:
    random.Random(1).shuffle(lines)
    held_out = len(lines) // 20
    return {
        "valid": lines[:held_out],
        "test": lines[held_out : 2 * held_out],
        "train": lines[2 * held_out :],
    }
