"""Search for near-duplicates with the libraries that are compared in `benchmarks/data/near_duplicates.py`.

All get the same settings: shingles of as many words, and as many bands of as many MinHash values. Each is used by the
quickest way that it offers, and returns the numbers of the texts that have a candidate.

Every function takes a file of JSON lines with the field "text", in word form (lower case, one space between words), so
that a shingle means the same to all.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from reviewlm.corpus.duplicates.minhash import Bands

AT_ONCE = 2_000
"""Texts that are given to rensa and datasketch at a time."""


def texts_of(file: Path) -> Iterator[str]:
    """Yield the texts of a file of JSON lines."""
    with file.open("rb") as lines:
        for line in lines:
            yield orjson.loads(line)["text"]


def shingles(text: str, size: int) -> list[str]:
    """Return the runs of *size* words of a text in word form; of a shorter text its only one."""
    words = text.split(" ")
    return [" ".join(words[start : start + size]) for start in range(max(1, len(words) - size + 1))]


def _batches(file: Path, size: int) -> Iterator[list[list[str]]]:
    batch: list[list[str]] = []
    for text in texts_of(file):
        batch.append(shingles(text, size))
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def rensa(
    file: Path,
    bands: Bands,
    similarity: float,
    shingle: int,
) -> list[int]:
    """Run rensa: signatures of many texts in one matrix, and one flag for each text that shares a band."""
    from rensa import RMinHash, RMinHashLSH

    values = bands.count * bands.rows
    index = RMinHashLSH(similarity, values, bands.count)
    matrices = []
    for batch in _batches(file, shingle):
        matrices.append(RMinHash.digest_matrix_from_token_sets(batch, values, 1))
        index.insert_matrix(matrices[-1], (len(matrices) - 1) * AT_ONCE)

    flags = [flag for matrix in matrices for flag in index.query_duplicate_flags_matrix(matrix)]
    return [number for number, flag in enumerate(flags) if flag]


def datasketch(
    file: Path,
    bands: Bands,
    similarity: float,
    shingle: int,
) -> list[int]:
    """Run datasketch: signatures in bulk with xxHash, all inserted, then all looked up."""
    from datasketch import MinHash, MinHashLSH
    from xxhash import xxh32_intdigest

    values = bands.count * bands.rows
    index = MinHashLSH(similarity, num_perm=values, params=(bands.count, bands.rows))
    found: list[Any] = []
    for batch in _batches(file, shingle):
        encoded = [[each.encode() for each in text] for text in batch]
        found += MinHash.bulk(
            encoded,
            num_perm=values,
            seed=1,
            hashfunc=xxh32_intdigest,
        )

    for number, signature in enumerate(found):
        index.insert(number, signature, check_duplication=False)

    return [number for number, signature in enumerate(found) if len(index.query(signature)) > 1]


def datatrove(
    file: Path,
    bands: Bands,
    similarity: float,
    shingle: int,
    folder: Path,
    workers: int,
) -> list[int]:
    """Run datatrove: signatures, buckets and clusters in *workers* processes, on disk."""
    from datatrove.data import Document
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.text import TextNormConfig
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Spaces(WordTokenizer):
        """Cut at spaces: the texts are in word form, and spaCy, the default, is many times slower."""

        def word_tokenize(self, text: str) -> list[str]:
            return text.split(" ")

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    def read(
        data: object,
        rank: int,
        world_size: int,
    ) -> Iterator[Document]:
        """Yield every *world_size*th text."""
        for number, text in enumerate(texts_of(file)):
            if number % world_size == rank:
                yield Document(text=text, id=str(number))

    shutil.rmtree(folder, ignore_errors=True)
    off = dict.fromkeys(
        ("norm_numbers", "norm_weekdays", "norm_monthnames", "norm_unicode_diacritics"), False
    )
    config = MinhashConfig(
        n_grams=shingle,
        num_buckets=bands.count,
        hashes_per_bucket=bands.rows,
        seed=1,
        norm_config=TextNormConfig(**off),
        hash_config=HashConfig(precision=64, hash_fc="xxhash"),
    )
    signed, met, kept = (str(folder / name) for name in ("signatures", "buckets", "clusters"))
    steps: list[tuple[list[Any], int]] = [
        ([read, MinhashDedupSignature(signed, config, Spaces())], workers),
        ([MinhashDedupBuckets(signed, met, config=config, lines_to_buffer=1_000)], bands.count),
        (
            [
                MinhashDedupCluster(
                    met,
                    kept,
                    config,
                    save_cluster_id=True,
                    lines_to_buffer=1_000,
                )
            ],
            1,
        ),
    ]
    for number, (pipeline, tasks) in enumerate(steps):
        logs = str(folder / f"logs-{number}")
        LocalPipelineExecutor(
            pipeline,
            tasks=tasks,
            workers=min(workers, tasks),
            logging_dir=logs,
            start_method="fork",  # quicker than its default, and the system counts the processor time of its processes
        ).run()

    return sorted(
        number
        for rank in range(workers)
        for number in _clustered(folder / "clusters", rank, workers)
    )


def _clustered(
    folder: Path,
    rank: int,
    workers: int,
) -> Iterator[int]:
    """Yield the texts of one reader that are in a cluster: pairs of 32-bit numbers, the text and its cluster."""
    import numpy as np

    file = folder / f"{rank:06d}.clusters"
    if file.exists():
        yield from (np.fromfile(file, np.uint32)[::2] * workers + rank).tolist()
