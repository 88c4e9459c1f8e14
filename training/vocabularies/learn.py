"""Learn words, BPE, Unigram or characters from training texts, in bounded memory, the same bytes in every run.

The trainers of the `tokenizers` package accept no counts, so each piece is given as often as it was counted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, groupby, repeat
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE, Unigram

from reviewlm.models.base import ModelError
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.threads import FanOut
from reviewlm.models.tokens.subword_codecs import (
    BYTE_OF,
    PATTERN,
    SPLIT,
    UNKNOWN,
    CharUnit,
    SubwordUnit,
    spare_bytes,
)
from reviewlm.models.tokens.vocabulary import Vocabulary, batch_texts
from reviewlm.models.tokens.word_pieces import Chunks
from reviewlm.models.tokens.words import FIRST
from reviewlm.training.vocabularies.text_parts import count_texts
from reviewlm.training.vocabularies.type_counts import CharacterCounts, TypeCounts
from reviewlm.training.vocabularies.words import train_words

log = logging.getLogger(__name__)
BPE_TYPES = 500_000
"""Maximum number of distinct pieces that BPE learns from: the most frequent ones."""
BPE_BYTES = 6 << 20
"""Maximum total bytes of these pieces."""
UNIGRAM_TYPES = 200_000
UNIGRAM_BYTES = 2 << 20
FED = 10_000_000
"""Maximum occurrences of pieces given to a trainer; above it, a sample."""
SPARE = 243
"""Number of bytes that occur in UTF-8 text: all but C0, C1 and F5 to FF."""
OCCURRENCES_IN_TEXT = 200
"""Occurrences of a piece that are given to the BPE trainer as one text: fewer calls."""


@dataclass(frozen=True)
class Pieces:
    """The pieces that entries are learned from, with their counts.

    Attributes:
        table: Columns `piece` and `count`, most frequent first.
        types: Number of distinct pieces of the whole text.
        occurrences: Number of pieces of the whole text.
        characters: Counts of the characters of the whole text.
    """

    table: pl.DataFrame
    types: int
    occurrences: int
    characters: dict[str, int]

    def facts(self) -> dict[str, int | float]:
        """Return how much text was counted, and how much of it is used for learning."""
        covered = int(self.table["count"].sum())
        return {
            "types": self.types,
            "types_used": self.table.height,
            "occurrences": self.occurrences,
            "share_used": round(covered / max(self.occurrences, 1), 6),
        }


def most_frequent(
    texts: Iterable[str],
    types: int,
    size: int,
    work: Path | None,
    fan_out: FanOut = map,
) -> Pieces:
    """Count the pieces of all texts exactly and keep the most frequent ones (ties by text).

    Args:
        types: Maximum number of pieces to keep.
        size: Maximum total bytes of these pieces.
        work: Folder for temporary files.
        fan_out: Who counts the batches of texts.
    """
    frequent = pl.DataFrame(schema={"piece": pl.String, "count": pl.Int64})
    types_before = 0
    total = 0
    characters = CharacterCounts()
    with TypeCounts("piece", ["count"], work) as counts:
        for counted in count_texts(texts, count_pieces, fan_out):
            counts.add(counted)
        for part in counts.parts():
            types_before += part.height
            total += int(part["count"].sum())
            characters.add(part["piece"].to_list(), part["count"].to_numpy())
            frequent = (
                pl.concat([frequent, part])
                .sort(["count", "piece"], descending=[True, False])
                .head(types)
            )
            frequent = frequent.filter(pl.col("piece").str.len_bytes().cum_sum() <= size)

    return Pieces(frequent, types_before, total, dict(characters.items()))


def train_bpe(
    texts: Iterable[str],
    size: int,
    min_count: int,
    work: Path | None = None,
    fan_out: FanOut = map,
) -> tuple[SubwordUnit, dict[str, int | float]]:
    """Train byte-level BPE (Sennrich et al. 2016, Radford et al. 2019); merge pairs seen at least *min_count* times.

    Up to `BPE_TYPES` distinct pieces and `FED` occurrences, the result is the same as on the whole text.
    """
    require_room("bpe", size, 256)
    pieces = most_frequent(
        texts,
        BPE_TYPES,
        BPE_BYTES,
        work,
        fan_out,
    )
    times = _thin_counts(pieces.table)
    least = min_count * int(times.sum()) / max(int(pieces.table["count"].sum()), 1)
    trainer = trainers.BpeTrainer(
        vocab_size=size - FIRST + 1,
        min_frequency=max(1, round(least)),
        special_tokens=[UNKNOWN],
        initial_alphabet=sorted(BYTE_OF),
        show_progress=False,
    )
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(
        _repeat_pieces(pieces.table["piece"].to_list(), times.tolist()), trainer
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return SubwordUnit({**json.loads(tokenizer.to_str()), "added_tokens": []}), pieces.facts()


def _repeat_pieces(pieces: Sequence[str], times: Sequence[int]) -> Iterator[str]:
    """Yield texts in which each piece, in byte-level characters, is as often as it says, with a space after it."""
    character = {byte: name for name, byte in BYTE_OF.items()}
    for piece, count in zip(pieces, times, strict=True):
        name = "".join(map(character.__getitem__, piece.encode())) + " "
        yield from repeat(name * OCCURRENCES_IN_TEXT, count // OCCURRENCES_IN_TEXT)
        yield name * (count % OCCURRENCES_IN_TEXT)


def train_unigram(
    texts: Iterable[str],
    size: int,
    min_count: int,
    work: Path | None = None,
    fan_out: FanOut = map,
) -> tuple[SubwordUnit, dict[str, int | float]]:
    """Train a Unigram model (Kudo 2018) with one entry per byte, for characters seen less than *min_count* times.

    The trainer needs an entry for each character that it is given. Where the size does not allow for all, it is given
    the most frequent ones, for half of the entries; the others are written as bytes, too.

    The trainer iterates over hash tables with random seeds, and threads also change the order of its pieces. So it runs
    in one thread, and `_in_order` removes the remaining effect of the tables' order.
    """
    require_room("unigram", size, SPARE)
    pieces = most_frequent(
        texts,
        UNIGRAM_TYPES,
        UNIGRAM_BYTES,
        work,
        fan_out,
    )
    room = size - FIRST - SPARE
    characters = pieces.characters
    names = pieces.table["piece"].to_list()
    times = _thin_counts(pieces.table)
    if len(characters) >= room:
        some = set(
            sorted(characters, key=lambda char: (-characters[char], char))[: max(1, room // 2)]
        )
        log.warning(
            "%d of %d characters are written as bytes: the vocabulary is too small for them",
            len(characters) - len(some),
            len(characters),
        )
        cut = [
            ("".join(part), number)
            for number, name in enumerate(names)
            for part in _runs(name, some)
        ]
        names = [part for part, _ in cut]
        times = times[[number for _, number in cut]]

    tokenizer = Tokenizer(Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=room + 1,
        special_tokens=[UNKNOWN],
        unk_token=UNKNOWN,
        show_progress=False,
    )
    with _one_thread():
        tokenizer.train_from_iterator(
            chain.from_iterable(map(repeat, names, times.tolist())), trainer
        )

    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    values = json.loads(tokenizer.to_str())
    ranked = _in_order(
        {piece: score for piece, score in values["model"]["vocab"] if piece != UNKNOWN}
    )
    frequent = pieces.characters
    vocabulary = []
    for piece, score in ranked:
        if len(piece) > 1 or frequent.get(piece, 0) >= min_count:
            vocabulary.append((piece, score))

    floor = min((score for _, score in vocabulary), default=0.0) - 10.0
    spare = [(f"<0x{byte:02X}>", floor) for byte in spare_bytes(dict(vocabulary))]
    values["model"]["vocab"] = [(UNKNOWN, floor), *vocabulary, *spare]
    values["model"].update(unk_id=0, byte_fallback=True)
    return SubwordUnit({**values, "added_tokens": []}), {
        **pieces.facts(),
        "occurrences_fed": int(times.sum()),
    }


def train_characters(
    texts: Iterable[str],
    size: int,
    min_count: int,
) -> tuple[CharUnit, dict[str, int | float]]:
    """Train on the most frequent characters that are seen at least *min_count* times (ties by code point).

    Returns:
        The unit, and facts about the counts.
    """
    require_room("char", size, SPARE)
    seen = CharacterCounts()
    for batch in batch_texts(texts):
        seen.add(batch)

    ranked = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
    frequent = [(char, count) for char, count in ranked if count >= min_count][
        : size - FIRST - SPARE
    ]
    total = sum(count for _, count in ranked)
    covered = sum(count for _, count in frequent)
    facts: dict[str, int | float] = {
        "types": len(ranked),
        "types_used": len(ranked),
        "occurrences": total,
        "share_used": 1.0,
        "coverage": round(covered / max(total, 1), 6),
    }
    return CharUnit([char for char, _ in frequent]), facts


def require_room(
    unit: str,
    size: int,
    bytes_needed: int,
) -> None:
    """Raise if a vocabulary of this size could not encode every text.

    Raises:
        ModelError: kind "input"; the message names the size that is needed.
    """
    if size < FIRST + bytes_needed + 1:
        raise ModelError(
            f"size is {size}; a vocabulary of unit {unit!r} needs at least {FIRST + bytes_needed + 1}: "
            f"{FIRST} special tokens, {bytes_needed} bytes and one entry",
            "input",
        )


def count_pieces(texts: Sequence[str]) -> pl.DataFrame:
    """Return the pieces of `SPLIT` in these texts: `piece`, `count`."""
    chunks = Chunks.of(pl.Series("piece", texts, dtype=pl.String))
    pieces = pl.DataFrame(
        {"piece": chunks.distinct.str.extract_all(PATTERN), "count": chunks.counts()}
    )
    counts = (
        pieces.explode("piece").drop_nulls("piece").group_by("piece").agg(pl.col("count").sum())
    )
    # Runs of white space with the text that follows: cut off the last space, which belongs to the text or is alone.
    runs = pl.col("piece").str.contains(r"^\s{2,}\S")
    lead = pl.col("piece").str.extract(r"^(\s+)\s", 1)
    rest = pl.col("piece").str.extract(r"(\s\S+)$", 1).str.extract_all(PATTERN)
    cut = counts.filter(runs).select(piece=pl.concat_list(lead, rest), count="count")
    return (
        pl.concat([counts.filter(~runs), cut.explode("piece")])
        .group_by("piece")
        .agg(pl.col("count").sum())
    )


def _runs(piece: str, characters: Container[str]) -> Iterator[Iterator[str]]:
    """Yield the parts of a piece that have these characters only."""
    yield from (part for inside, part in groupby(piece, characters.__contains__) if inside)


def _thin_counts(table: pl.DataFrame) -> np.ndarray:
    """Return the counts, scaled down to a total of about `FED` if they are more.

    A fraction is rounded up with a probability equal to its size, decided by the hash of the piece. So the order of the
    text has no effect, and rare pieces together keep their share.
    """
    counts = table["count"].to_numpy()
    total = int(counts.sum())
    if total <= FED:
        return counts

    scaled = counts * (FED / total)
    dice = np.frombuffer(
        b"".join(
            hashlib.blake2b(piece.encode(), digest_size=4).digest()
            for piece in table["piece"].to_list()
        ),
        "<u4",
    )
    return np.floor(scaled + dice / 2.0**32).astype(np.int64)


def _in_order(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Return pieces by descending score, in the same order for every run of the trainer.

    The sums of the trainer differ in their last digits, so scores are rounded. At its end, the trainer adds characters
    that are in no piece and gives them the lowest score + 0, 1, 2 … times 0.0001 in random order. Here all of them get
    the lowest score.
    """
    lowest = min(scores.values(), default=0.0)

    same = []
    for piece, score in scores.items():
        steps = (score - lowest) / 1e-4
        is_whole = abs(steps - round(steps)) < 1e-3
        if len(piece) == 1 and steps < len(scores) and is_whole:  # added at the end
            score = lowest
        same.append((piece, round(score, 6)))

    return sorted(same, key=lambda item: (-item[1], item[0]))


@contextmanager
def _one_thread() -> Iterator[None]:
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def learn_vocabulary(
    texts: Iterable[str],
    spec: VocabularySpec,
    normal_form: NormalForm,
    work: Path | None = None,
    fan_out: FanOut = map,
) -> Vocabulary:
    """Learn the entries from cleaned training texts (read once; or `TextParts`), in bounded memory.

    The same texts in any order give the same bytes. The attribute `facts` tells how much text was used.

    Args:
        spec: Unit, size and minimum count.
        work: Folder for counts that do not fit in memory; None: the system's folder for temporary files.
        fan_out: Who counts the pieces of batches of texts.

    Raises:
        ModelError: kind "input": no word of the texts is frequent enough, or `spec.size` is too small for the unit.
    """
    if spec.unit == "word":
        learned: Any = train_words(
            texts,
            spec.size,
            spec.min_count,
            spec.lowercase,
            work,
            fan_out,
        )
    elif spec.unit == "bpe":
        learned = train_bpe(
            texts,
            spec.size,
            spec.min_count,
            work,
            fan_out,
        )
    elif spec.unit == "unigram":
        learned = train_unigram(
            texts,
            spec.size,
            spec.min_count,
            work,
            fan_out,
        )
    else:
        learned = train_characters(texts, spec.size, spec.min_count)

    unit, facts = learned
    vocabulary = Vocabulary(spec, normal_form, unit)
    vocabulary.facts.update(facts)
    return vocabulary
