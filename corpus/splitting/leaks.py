"""Check that no text, nor a near-duplicate of it, is in two splits, and record the result in a "leak certificate".

It also records how much of each held-out review stands in passages of train (`corpus.duplicates.exact`).

The check reads texts and splits from clean.parquet itself, whatever the filters before have decided. The certificate is
bound to that file: it holds a digest of the texts of each split, and of the test reviews on which models are scored.
`verify` computes all of these again.

Equal texts are found by the first 8 bytes of their SHA-256, which take 8 bytes of memory per review. Near-duplicates
are found by `corpus.duplicates.near`, with the hash functions of the filter. So the certificate promises that nothing
that this method can find was left, and it states which share of the near-duplicates the method finds. Hashing takes
most of the time, so the filter hands on what it computed; it is looked up by the SHA-256 of each text in the table. It
also hands on the coverage, which depends on each review and train alone. `verify` computes all of it again.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from core.config.sections.data import DuplicatesConfig
from core.environment import available_cores
from core.errors import CheckFailed, Damaged, disk_errors
from corpus.duplicates.exact import PASSAGE, SPAN, STOCK, TRAIN, NameIndex, coverage, distinct, hash_texts
from corpus.duplicates.minhash import SEED
from corpus.duplicates.near import ABSENT, NearDuplicates
from corpus.splitting.certificate import CERTIFICATE_FILE, Certificate, CertifiedSplit, read, reviews_digest, spread
from corpus.splitting.split import SPLITS, TABLE, add_texts
from models.threads import ordered

log = logging.getLogger(__name__)

EXAMPLES = 5
_COLUMNS = ["review_id", "text", "split", "stars", "bytes"]
_BATCH_ROWS = 20_000
_RANKS = {name: rank for rank, name in enumerate(SPLITS)}


def certify(
    folder: Path, config: DuplicatesConfig, threads: int = 1, copies: dict[str, dict[str, int]] | None = None,
    hashed: NearDuplicates | None = None, covered: dict[str, Any] | None = None,
) -> Certificate:
    """Check `folder/clean.parquet` and write `folder/leak_certificate.json`; threads do not change the result.

    It takes about 45 bytes of memory per review, and temporary disk space in *folder* of about the size of the texts.

    Args:
        folder: Folder of the prepared data.
        config: Definition of near-duplicates.
        threads: Number of threads for the comparison.
        copies: Entry of the certificate for repeats within a split.
        hashed: Texts that were hashed before, by `text_names`; it does not change the result. Its folder is removed.
        covered: Distribution of the coverage by held-out split, if it was measured before (`spread`).

    Raises:
        CheckFailed: A text is in two splits, exactly or nearly, or train covers a held-out review; the error names the
            reviews.
        StoreFull, NotWritable: The disk is full or not writable.
    """
    with disk_errors(folder):
        log.debug("searching for texts that are in two splits")
        (folder / CERTIFICATE_FILE).unlink(missing_ok=True)
        texts = _Texts(folder / TABLE)
        index = hashed or NearDuplicates(folder / "leaks.work", config, threads) if config.near else None
        near = passages = None
        if index:
            near, passages = _near(texts, config, index), _passages(texts, config, index, threads, covered)
            shutil.rmtree(index.work)
        certificate = Certificate(
            texts.sides(), texts.test_digest, texts.test_reviews, texts.exact(), near, passages, version("reviewlm"),
            copies=copies or {},
        )
        (folder / CERTIFICATE_FILE).write_text(certificate.to_json(), encoding="utf-8")
    return certificate


def verify(folder: Path, near: bool = False) -> Certificate:
    """Compare `folder/clean.parquet` with its certificate, and return the certificate.

    Args:
        folder: Folder of the prepared data.
        near: Whether to search for near-duplicates and passages again too, which takes as long as the first time.
            Otherwise only equal texts are searched and the digests compared.

    Raises:
        Damaged: There is no certificate, it cannot be read, or it belongs to another file.
        CheckFailed: A text is in two splits, or train covers a held-out review; the error names the reviews.
    """
    certificate = read(folder)
    texts = _Texts(folder / TABLE)
    exact, current = texts.exact(), texts.sides()
    for name in SPLITS:
        if certificate.sides.get(name) != current[name]:
            raise Damaged(
                "The leak certificate belongs to other reviews", where=folder / CERTIFICATE_FILE,
                value=f"{name}: {certificate.sides.get(name)}, but clean.parquet has {current[name]}",
                cause="the certificate or the table was changed or replaced", remedy="run with --rebuild prepare",
            )
    stated = (certificate.test_digest, certificate.test_reviews, certificate.exact)
    left = any((part or {}).get("left") for part in (certificate.near, certificate.coverage))
    if stated != (texts.test_digest, texts.test_reviews, exact) or left:
        raise Damaged(
            "The leak certificate belongs to another test set", where=folder / CERTIFICATE_FILE, value=stated,
            cause="the certificate or the table was changed or replaced", remedy="run with --rebuild prepare",
        )
    if near and certificate.near and certificate.coverage:
        _search_again(folder, texts, certificate.near, certificate.coverage)
    return certificate


def _search_again(folder: Path, texts: _Texts, near: dict[str, Any], covered: dict[str, Any]) -> None:
    """Search for near-duplicates and passages as a certificate says; refuse another distribution of coverage."""
    options = {name: near[name] for name in ("similarity", "shingle")}
    config, threads = DuplicatesConfig(**options, coverage=covered["limit"]), available_cores()
    with tempfile.TemporaryDirectory(prefix="leaks-") as work:
        index = NearDuplicates(Path(work) / "near", config, threads)
        _near(texts, config, index)
        passages = _passages(texts, config, index, threads)
    if passages != covered:
        raise Damaged(
            "The leak certificate belongs to other passages", where=folder / CERTIFICATE_FILE, value=covered,
            cause=f"measured again: {passages}", remedy="run with --rebuild prepare",
        )


def text_names(texts: pl.Series) -> np.ndarray:
    """Return the first 8 bytes of the SHA-256 of each text as a number, (D,) uint64."""
    return hash_texts(texts)[0].to_numpy()


def _hashed(batch: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, pl.DataFrame]:
    """Return the names of the texts, their sides, and the rows of the test split."""
    sides = batch["split"].replace_strict(_RANKS, return_dtype=pl.UInt8).to_numpy()
    return text_names(batch["text"]), sides, batch.filter(pl.col("split") == "test")


class _Texts:
    """The texts of a prepared table as hashes, and the split of each review."""

    def __init__(self, file: Path) -> None:
        self.file = file
        hashes, sides, tests, digest = [], [], [], hashlib.sha256()
        for names, side, test in ordered(_hashed, self.batches(), workers=2):  # one waits for the file
            hashes.append(names)
            sides.append(side)
            tests.append(test.select("review_id", "stars", "bytes"))
            add_texts(digest, test)
        self.hash_D = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
        self.side_D = np.concatenate(sides) if sides else np.zeros(0, np.uint8)
        self.test_digest = digest.hexdigest()
        self.test_reviews = reviews_digest(pl.concat(tests)) if tests else ""

    @cached_property
    def index(self) -> NameIndex:
        """Where each text is first, by its name."""
        return NameIndex(self.hash_D)

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the table in batches, in its order."""
        from pyarrow import parquet

        with parquet.ParquetFile(self.file, pre_buffer=False) as table:  # pre_buffer would load the whole file
            for batch in table.iter_batches(_BATCH_ROWS, columns=_COLUMNS):
                yield pl.DataFrame(pl.from_arrow(batch))

    def numbered(self, wanted_D: np.ndarray) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield those batches of the table that have wanted rows, each with the number of its first row."""
        start = 0
        for batch in self.batches() if wanted_D.any() else ():
            if wanted_D[start : start + batch.height].any():
                yield start, batch
            start += batch.height

    def side_of(self, names: np.ndarray) -> np.ndarray:
        """Return the side of each text, given by its name, as uint8; `ABSENT` for those that are not in the table."""
        row = self.index.find(names)
        return np.where(row < 0, np.uint8(ABSENT), self.side_D[row])

    def sides(self) -> dict[str, CertifiedSplit]:
        """Return the record of each split for the certificate."""
        splits = {}
        for rank, name in enumerate(SPLITS):
            hashes = np.sort(self.hash_D[self.side_D == rank])
            texts = int((hashes[1:] != hashes[:-1]).sum()) + bool(len(hashes))
            digest = hashlib.sha256(hashes.astype(">u8").tobytes()).hexdigest()
            splits[name] = CertifiedSplit(len(hashes), texts, digest)
        return splits

    def exact(self) -> dict[str, int]:
        """Compare all texts of each split with those of the others.

        Raises:
            CheckFailed: Some are equal.
        """
        texts = [distinct(self.hash_D[self.side_D == rank]) for rank in range(len(SPLITS))]
        common = [np.intersect1d(one, other, assume_unique=True) for one, other in combinations(texts, 2)]
        shared = distinct(np.concatenate(common))
        if len(shared):
            rows = np.flatnonzero(np.isin(self.hash_D, shared[:EXAMPLES]))
            self._leak(f"{len(shared):,} texts are in more than one split", rows)
        pairs = sum(len(one) * len(other) for one, other in combinations(texts, 2))
        return {"pairs": pairs, "left": 0}

    def first_of_each(self) -> np.ndarray:
        """Return a mask of the reviews that are the first ones with their text."""
        return self.index.find(self.hash_D) == np.arange(len(self.hash_D))

    def _leak(self, what: str, rows: Sequence[int] | np.ndarray) -> None:
        leaking, named = np.zeros(len(self.hash_D), bool), []
        leaking[rows] = True
        for start, batch in self.numbered(leaking):
            for row in np.flatnonzero(leaking[start : start + batch.height]).tolist():
                review = batch.row(row, named=True)
                named.append(f"{review['split']} {review['review_id']}: {review['text'][:60]!r}")
        raise CheckFailed(
            f"{what}: {'; '.join(named[: 4 * EXAMPLES])}", where=self.file,
            remedy="run with --rebuild prepare; if it happens again, the filter of duplicates is broken",
        )

    def refuse_near(self, pairs: pl.DataFrame) -> None:
        """Raise CheckFailed, with some of the *pairs* of names in the error."""
        some = pairs.head(EXAMPLES)
        rows = self.index.find(np.concatenate([some["a"].to_numpy(), some["b"].to_numpy()]))
        self._leak(f"{pairs.height:,} near-duplicates are in two splits", rows)

    def refuse_covered(self, covered_R: np.ndarray) -> None:
        """Raise CheckFailed, with some of the reviews, if passages of train cover any."""
        if rows := np.flatnonzero(covered_R).tolist():
            self._leak(f"passages of train cover {len(rows):,} held-out reviews", rows[:EXAMPLES])


def _near(texts: _Texts, config: DuplicatesConfig, near: NearDuplicates) -> dict[str, Any]:
    """Search near-duplicates between splits, by the names of the texts; raise CheckFailed if there are any."""
    new = texts.first_of_each()
    new &= NameIndex(np.concatenate([near.keys, near.short])).find(texts.hash_D) < 0
    near.add_all(
        (texts.hash_D[start : start + len(batch)][chosen], batch["text"].filter(pl.Series(chosen)))
        for start, batch in texts.numbered(new)
        for chosen in [new[start : start + len(batch)]]
    )
    pairs = near.pairs(texts.side_of, within=False)
    shorter = int((texts.index.find(near.short) >= 0).sum())
    if pairs.height:
        texts.refuse_near(pairs)
    return {
        "pairs": near.examined, "left": 0, "shorter": shorter,
        "method": "MinHash, bands, sketches, exact Jaccard of shingles",
        "sketches": near.sketches.limits(),
        "seed": SEED, "bands": near.bands.count, "rows": near.bands.rows,
        "recall": round(near.recall, 6), **config.model_dump(exclude={"near", "coverage"}),
    }


def _passages(
    texts: _Texts, config: DuplicatesConfig, index: NearDuplicates, threads: int, covered: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the entry `coverage` of the certificate; measure it if it is not known, and refuse covered reviews."""
    if covered is None:
        sides = texts.side_of(index.keys)
        held_out = sides < TRAIN
        shares = coverage(partial(index.forms, held_out), partial(index.forms, sides == TRAIN), threads)
        coverage_R = np.zeros(len(texts.hash_D))
        text_R = NameIndex(index.keys[held_out]).find(texts.hash_D)
        coverage_R[text_R >= 0] = shares[text_R[text_R >= 0]]
        texts.refuse_covered(coverage_R >= config.coverage)
        covered = {name: spread(coverage_R[texts.side_D == rank]) for name, rank in _RANKS.items() if rank < TRAIN}
    return {"left": 0, "limit": config.coverage, "span": SPAN, "passage": PASSAGE, "stock": STOCK, **covered}
