"""Record in a "leak certificate" how the splits of prepared data were compared, and compare data with it.

The certificate is bound to clean.parquet: it holds a digest of the texts of each split, and of the test reviews on
which models are scored. Texts and splits are read from that file itself, and equal texts in two splits, found by the
first 8 bytes of their SHA-256, are refused, whatever the filters before have decided. Of near-duplicates and passages
it records how `corpus.duplicates` looked for them, and which share that method finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from pydantic import ConfigDict, TypeAdapter

from reviewlm.core.errors import CheckFailed, Damaged, disk_errors
from reviewlm.corpus.duplicates.exact import PASSAGE, SPAN, STOCK, distinct, hash_texts
from reviewlm.corpus.splitting.split import SPLITS, TABLE, add_texts, iter_split, split_of_group
from reviewlm.models.dataflow import Dataflow
from reviewlm.models.row_groups import RowGroups
from reviewlm.models.threads import map_in_order

CERTIFICATE_FILE = "leak_certificate.json"
PARTLY = 0.25
"""Coverage from which on held-out reviews are counted; all figures are also given without these."""
BINS = 20
"""Bins of the distribution of coverage."""
EXAMPLES = 5
_COLUMNS = ["review_id", "text", "stars", "bytes"]
_BATCH_ROWS = 20_000


@dataclass(frozen=True)
class CertifiedSplit:
    """One split: its reviews, the number of different texts, and the SHA-256 of the sorted text hashes."""

    reviews: int
    texts: int
    sha256: str


@dataclass(frozen=True)
class Certificate:
    """A record of the comparisons that found no leak.

    Args:
        sides: The sides by name of the split.
        test_digest: SHA-256 of the ids and texts of the test split, as in the facts of the prepared data.
        test_reviews: Digest of the ids, stars and sizes of the test split; scores use it to name the scored reviews.
        exact: `pairs` of texts of different splits that were compared (all of them), and `left`, which is 0.
        near: The same for near-duplicates, which the filter dropped: `pairs` are those compared word by word. Also
            `shorter`, the number of texts with too few words to be near-duplicates, and the method with its parameters.
            None if near-duplicates were not searched.
        coverage: How much of the held-out reviews stands in train: `limit`, the constants of
            `corpus.duplicates.exact` and, by held-out split, the distribution (`spread`); `left` is 0 here too. None
            if near-duplicates were not searched.
        code: Version of this program.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")
    sides: dict[str, CertifiedSplit]
    test_digest: str
    test_reviews: str
    exact: dict[str, int]
    near: dict[str, Any] | None
    coverage: dict[str, Any] | None
    code: str
    format: Literal[2] = 2

    def to_json(self) -> str:
        """Return the certificate as JSON text."""
        return _JSON.dump_json(self, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> Certificate:
        """Return the certificate that `to_json` wrote.

        Raises:
            ValueError: The text is not a certificate.
        """
        return _JSON.validate_json(text)

    @property
    def digest(self) -> str:
        """SHA-256 of the certificate's text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def summary(self) -> str:
        """The comparison and its result in a sentence that promises no more than that."""
        of = f"of the {self.sides['test'].reviews:,} test reviews was found in the training text"
        if self.near is None or self.coverage is None:
            return f"no copy {of}; near copies and passages were not looked for"
        partly = at_least(self.coverage["test"], PARTLY)
        return (
            f"no copy or near copy {of}; passages from it make up less than {self.coverage['limit']:.0%} of each review"
            + (f", and {PARTLY:.0%} or more of {partly:,} reviews" if partly else "")
        )


_JSON = TypeAdapter(Certificate)


def spread(coverage_D: np.ndarray) -> dict[str, Any]:
    """Return the distribution of the coverage of reviews (D,).

    Returns:
        Number of `reviews`, mean, number of those with `none`, and number of the others in each of `BINS` equal bins,
        `counts`; a value between two bins belongs to the upper one.
    """
    place = np.minimum((coverage_D * BINS + 1e-9).astype(int), BINS - 1)[coverage_D > 0]
    counts = np.bincount(place, minlength=BINS).tolist()
    reviews = len(coverage_D)
    mean = 0.0
    if reviews:
        mean = round(float(coverage_D.mean()), 6)

    return {"reviews": reviews, "mean": mean, "none": reviews - len(place), "counts": counts}


def at_least(distribution: dict[str, Any], share: float) -> int:
    """Return how many reviews have at least this coverage, a multiple of 1 / `BINS` above 0; see `spread`."""
    return sum(distribution["counts"][round(share * BINS) :])


def read(folder: Path) -> Certificate:
    """Return the certificate in a folder, without checking it against the data.

    Raises:
        Damaged: There is no certificate, or it cannot be read.
    """
    file = folder / CERTIFICATE_FILE
    try:
        return Certificate.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Damaged(
            "There is no readable leak certificate",
            where=file,
            cause=f"{type(error).__name__}: {error}",
            remedy="run with --rebuild prepare",
        ) from error


def reviews_digest(reviews: pl.DataFrame) -> str:
    """Return a digest that identifies a set of reviews by their ids, stars and sizes, in any order."""
    lines = reviews.select(pl.format("{} {} {}", "review_id", "stars", "bytes")).to_series().sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def certify(
    folder: Path,
    near: dict[str, Any] | None = None,
    coverage: dict[str, Any] | None = None,
    engine: Dataflow | None = None,
) -> Certificate:
    """Check `folder/clean.parquet` and write `folder/leak_certificate.json`.

    Args:
        folder: Folder of the prepared data.
        near: How near-duplicates were searched; None: they were not.
        coverage: Distribution of the coverage by held-out split (`spread`), with its `limit`; None: not measured.
        engine: Who reads and hashes the texts; default: threads.

    Raises:
        CheckFailed: A text is in two splits; the error names the reviews.
        StoreFull, NotWritable: The disk is full or not writable.
    """
    with disk_errors(folder):
        (folder / CERTIFICATE_FILE).unlink(missing_ok=True)
        limits = {"span": SPAN, "passage": PASSAGE, "stock": STOCK}
        certificate = Certificate(
            **_record(folder, engine),
            near=near and {"left": 0, **near},
            coverage=coverage and {"left": 0, **limits, **coverage},
            code=version("reviewlm"),
        )
        (folder / CERTIFICATE_FILE).write_text(certificate.to_json(), encoding="utf-8")

    return certificate


def verify(folder: Path) -> Certificate:
    """Compare `folder/clean.parquet` with its certificate, search equal texts again, and return the certificate.

    Raises:
        Damaged: There is no certificate, it cannot be read, or it belongs to another file.
        CheckFailed: A text is in two splits; the error names the reviews.
    """
    certificate = read(folder)
    current = _record(folder)
    left = any((part or {}).get("left") for part in (certificate.near, certificate.coverage))
    if left or any(getattr(certificate, name) != value for name, value in current.items()):
        other = [name for name in SPLITS if certificate.sides[name] != current["sides"][name]]
        raise Damaged(
            "The leak certificate belongs to other reviews",
            where=folder / CERTIFICATE_FILE,
            value=", ".join(other) or None,
            cause="the certificate or the table was changed or replaced",
            remedy="run with --rebuild prepare",
        )

    return certificate


def _record(folder: Path, engine: Dataflow | None = None) -> dict[str, Any]:
    """Return the part of the certificate about the table alone; all texts of each split are compared with the others.

    Raises:
        CheckFailed: A text is in two splits; the error names the reviews.
    """
    some: dict[str, list[np.ndarray]] = {name: [np.zeros(0, np.uint64)] for name in SPLITS}
    tests = list[pl.DataFrame]()
    digest = hashlib.sha256()
    for name, texts, batch in _hashed_on_nodes(folder, engine) if engine else _hashed(folder):
        some[name].append(texts)
        if name == "test":
            tests.append(batch.select("review_id", "stars", "bytes"))
            add_texts(digest, batch)

    hashes = {name: np.concatenate(parts) for name, parts in some.items()}
    texts_of = [distinct(hashes[name]) for name in SPLITS]
    shared = [
        np.intersect1d(one, other, assume_unique=True) for one, other in combinations(texts_of, 2)
    ]
    if len(both := distinct(np.concatenate(shared))):
        raise _in_two_splits(folder, both)

    return {
        "sides": {name: _certify_split(hashes[name]) for name in SPLITS},
        "test_digest": digest.hexdigest(),
        "test_reviews": reviews_digest(pl.concat(tests)) if tests else "",
        "exact": {
            "pairs": sum(len(one) * len(other) for one, other in combinations(texts_of, 2)),
            "left": 0,
        },
    }


Hashed = tuple[str, np.ndarray, pl.DataFrame]
"""Some reviews of a split: its name, the names of the texts, and the reviews, of which only those of test are used."""


def _hashed(folder: Path) -> Iterator[Hashed]:
    """Yield the reviews, some at a time, in their order."""
    for name in SPLITS:
        batches = _batches(folder, name)
        for texts, batch in map_in_order(_hash_texts, batches, workers=2):  # one waits for the file
            yield name, texts, batch


def _hashed_on_nodes(folder: Path, engine: Dataflow) -> Iterator[Hashed]:
    """Yield the reviews, some at a time, in their order; workers read and hash them."""
    groups = RowGroups(folder / TABLE)
    asked = []
    for number in range(len(groups)):
        asked += engine.submit(_hash_group, engine.put(groups.read(number)))
    for hashed in engine.fetch(asked):
        yield from hashed


def _hash_group(content: np.ndarray) -> list[list[Hashed]]:
    """Return the reviews of a row group, by split; on a worker."""
    found: list[Hashed] = []
    for name in SPLITS:
        for batch in split_of_group(content, name, _BATCH_ROWS, _COLUMNS):
            texts = _hash_texts(batch)[0]
            found.append((name, texts, batch if name == "test" else batch.clear()))
    return [found]


def _batches(folder: Path, split: str) -> Iterator[pl.DataFrame]:
    return iter_split(folder, split, _BATCH_ROWS, _COLUMNS)


def _hash_texts(batch: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
    """Return the names of the texts beside their reviews."""
    return hash_texts(batch["text"])[0].to_numpy(), batch


def _certify_split(hashes: np.ndarray) -> CertifiedSplit:
    """Return the record of a split for the certificate."""
    hashes = np.sort(hashes)
    texts = int((hashes[1:] != hashes[:-1]).sum()) + bool(len(hashes))
    return CertifiedSplit(
        len(hashes), texts, hashlib.sha256(hashes.astype(">u8").tobytes()).hexdigest()
    )


def _in_two_splits(folder: Path, shared: np.ndarray) -> CheckFailed:
    """Return the error for texts, given by their names, that are in several splits; it names some reviews."""
    named = []
    for split in SPLITS:
        for batch in _batches(folder, split):
            for row in batch.filter(
                pl.Series(np.isin(_hash_texts(batch)[0], shared[:EXAMPLES]))
            ).iter_rows(named=True):
                named.append(f"{split} {row['review_id']}: {row['text'][:60]!r}")

    return CheckFailed(
        f"{len(shared):,} texts are in more than one split: {'; '.join(named[: 4 * EXAMPLES])}",
        where=folder / TABLE,
        remedy="run with --rebuild prepare; if it happens again, the filter of duplicates is broken",
    )
