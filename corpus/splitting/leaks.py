"""Check that no text, nor a near-duplicate of it, is in two splits, and record the result in a "leak certificate".

The check reads clean.parquet itself, independent of the filters that ran before. The certificate is bound to that file:
it holds a digest of the texts of each split, and of the test reviews on which models are scored. `verify` computes all
of these again.

Equal texts are found by the first 8 bytes of their SHA-256, which take 8 bytes of memory per review. Near-duplicates
are found by `corpus.duplicates.dedupe`, with the hash functions of the filter. So the certificate promises that nothing
that this method can find was left, and it states which share of the near-duplicates the method finds.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.config.run_config import DuplicatesConfig
from core.environment import available_cores
from core.errors import CheckFailed, Damaged, disk_errors
from corpus.duplicates.banding import SEED
from corpus.duplicates.dedupe import NearDuplicates
from corpus.splitting.certificate import CERTIFICATE_FILE, Certificate, CertifiedSplit, read
from corpus.splitting.split import SPLITS

log = logging.getLogger(__name__)

EXAMPLES = 5
_COLUMNS = ["review_id", "text", "split", "stars", "bytes"]
_BATCH_ROWS = 20_000
_RANKS = {name: rank for rank, name in enumerate(SPLITS)}


def certify(
    folder: Path, config: DuplicatesConfig, threads: int = 1, copies: dict[str, dict[str, int]] | None = None
) -> Certificate:
    """Check `folder/clean.parquet` and write `folder/leak_certificate.json`; threads do not change the result.

    It takes about 30 bytes of memory per review, and temporary disk space in *folder* of about the size of the texts.

    Args:
        folder: Folder of the prepared data.
        config: Definition of near-duplicates.
        threads: Number of threads for the comparison.
        copies: Entry of the certificate for repeats within a split.

    Raises:
        CheckFailed: A text is in two splits, exactly or nearly; the error names the reviews.
        StoreFull, NotWritable: The disk is full or not writable.
    """
    with disk_errors(folder):
        log.debug("searching for texts that are in two splits")
        (folder / CERTIFICATE_FILE).unlink(missing_ok=True)
        texts = _Texts(folder / "clean.parquet")
        work = folder / "leaks.work"
        near = _near(texts, config, work, threads) if config.near else None
        certificate = Certificate(
            texts.sides(), texts.test_digest, texts.test_reviews, texts.exact(), near, version("reviewlm"),
            copies=copies or {},
        )
        (folder / CERTIFICATE_FILE).write_text(certificate.to_json(), encoding="utf-8")
    return certificate


def verify(folder: Path, near: bool = False) -> Certificate:
    """Compare `folder/clean.parquet` with its certificate, and return the certificate.

    Args:
        folder: Folder of the prepared data.
        near: Whether to search for near-duplicates again too, which takes as long as the first time. Otherwise only
            equal texts are searched and the digests compared.

    Raises:
        Damaged: There is no certificate, it cannot be read, or it belongs to another file.
        CheckFailed: A text is in two splits; the error names the reviews.
    """
    certificate = read(folder)
    texts = _Texts(folder / "clean.parquet")
    exact, found = texts.exact(), texts.sides()
    for name in SPLITS:
        if certificate.sides.get(name) != found[name]:
            raise Damaged(
                "The leak certificate is not of these reviews", where=folder / CERTIFICATE_FILE,
                value=f"{name}: {certificate.sides.get(name)}, but clean.parquet has {found[name]}",
                cause="the certificate or the table was changed or replaced", remedy="run with --rebuild prepare",
            )
    stated = (certificate.test_digest, certificate.test_reviews, certificate.exact)
    if stated != (texts.test_digest, texts.test_reviews, exact) or (certificate.near or {}).get("left"):
        raise Damaged(
            "The leak certificate is not of this test set", where=folder / CERTIFICATE_FILE, value=stated,
            cause="the certificate or the table was changed or replaced", remedy="run with --rebuild prepare",
        )
    if near and certificate.near:
        names = ("similarity", "shingle", "permutations", "containment", "containment_words")
        options: dict[str, Any] = {"containment": "none"}  # certificates of earlier versions have no containment
        options |= {name: certificate.near[name] for name in names if name in certificate.near}
        config = DuplicatesConfig(**options)
        with tempfile.TemporaryDirectory(prefix="leaks-") as work:
            _near(texts, config, Path(work) / "near", available_cores())
    return certificate


def reviews_digest(reviews: pl.DataFrame) -> str:
    """Return a digest that identifies a set of reviews by their ids, stars and sizes, in any order."""
    lines = reviews.select(pl.format("{} {} {}", "review_id", "stars", "bytes")).to_series().sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class _Texts:
    """The texts of a prepared table as hashes, and the split of each review."""

    def __init__(self, file: Path) -> None:
        self.file = file
        hashes, sides, tests, digest = [], [], [], hashlib.sha256()
        for batch in self.batches():
            joined = b"".join([hashlib.sha256(text.encode()).digest()[:8] for text in batch["text"].to_list()])
            hashes.append(np.frombuffer(joined, ">u8").astype(np.uint64))
            sides.append(batch["split"].replace_strict(_RANKS, return_dtype=pl.UInt8).to_numpy())
            test = batch.filter(pl.col("split") == "test")
            tests.append(test.select("review_id", "stars", "bytes"))
            for review_id, text in test.select("review_id", "text").iter_rows():
                digest.update(f"{len(review_id)},{len(text)},{review_id}{text}".encode())
        self.hash_D = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
        self.side_D = np.concatenate(sides) if sides else np.zeros(0, np.uint8)
        self.test_digest = digest.hexdigest()
        self.test_reviews = reviews_digest(pl.concat(tests)) if tests else ""

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the table in batches, in its order."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.file, pre_buffer=False) as table:  # pre_buffer would load the whole file
            for batch in table.iter_batches(_BATCH_ROWS, columns=_COLUMNS):
                yield pl.DataFrame(pl.from_arrow(batch))

    def sides(self) -> dict[str, CertifiedSplit]:
        """Return the record of each split for the certificate."""
        found = {}
        for rank, name in enumerate(SPLITS):
            hashes = np.sort(self.hash_D[self.side_D == rank])
            texts = int((hashes[1:] != hashes[:-1]).sum()) + bool(len(hashes))
            found[name] = CertifiedSplit(len(hashes), texts, hashlib.sha256(hashes.astype(">u8").tobytes()).hexdigest())
        return found

    def exact(self) -> dict[str, int]:
        """Compare all texts of each split with those of the others.

        Raises:
            CheckFailed: Some are equal.
        """
        distinct = [np.unique(self.hash_D[self.side_D == rank]) for rank in range(len(SPLITS))]
        common = [np.intersect1d(one, other, assume_unique=True) for one, other in combinations(distinct, 2)]
        shared = np.unique(np.concatenate(common))
        if len(shared):
            rows = np.flatnonzero(np.isin(self.hash_D, shared[:EXAMPLES]))
            self._leak(f"{len(shared):,} texts are in more than one split", rows.tolist())
        pairs = sum(len(one) * len(other) for one, other in combinations(distinct, 2))
        return {"pairs": pairs, "left": 0}

    def first_of_each(self) -> np.ndarray:
        """Return a mask of the reviews that are the first ones with their text."""
        mask = np.zeros(len(self.hash_D), bool)
        mask[np.unique(self.hash_D, return_index=True)[1]] = True
        return mask

    def _leak(self, what: str, rows: list[int]) -> None:
        wanted, start, named = set(rows), 0, []
        for batch in self.batches():
            here = sorted(row for row in wanted if start <= row < start + batch.height)
            for row in here:
                review = batch.row(row - start, named=True)
                named.append(f"{review['split']} {review['review_id']}: {review['text'][:60]!r}")
            start += batch.height
        raise CheckFailed(
            f"{what}: {'; '.join(named[: 4 * EXAMPLES])}", where=self.file,
            remedy="run with --rebuild prepare; if it happens again, the filter of duplicates is broken",
        )

    def refuse_near(self, pairs: pl.DataFrame) -> None:
        """Raise CheckFailed, with some of the *pairs* of rows in the error."""
        some = pairs.head(EXAMPLES)
        self._leak(
            f"{pairs.height:,} near-duplicates are in two splits", [*some["a"].to_list(), *some["b"].to_list()]
        )


def _near(texts: _Texts, config: DuplicatesConfig, work: Path, threads: int) -> dict[str, Any]:
    """Search near-duplicates between splits; raise CheckFailed if there are any."""
    near = NearDuplicates(work, config, threads)
    first, start = texts.first_of_each(), 0
    for batch in texts.batches():
        chosen = first[start : start + batch.height]
        near.add(np.flatnonzero(chosen).astype(np.uint64) + np.uint64(start), batch["text"].filter(pl.Series(chosen)))
        start += batch.height
    pairs = near.pairs(lambda rows: texts.side_D[rows], within=False)
    shutil.rmtree(work)
    if pairs.height:
        texts.refuse_near(pairs)
    return {
        "pairs": near.examined, "left": 0, "shorter": near.short, "common_passages": near.common,
        "method": "MinHash, bands, sketches, exact Jaccard of shingles", "sketch": asdict(near.sketch),
        "library": f"rensa {version('rensa')}", "seed": SEED, "bands": near.bands.count, "rows": near.bands.rows,
        "recall": round(near.recall, 6), **config.model_dump(exclude={"near"}),
    }
