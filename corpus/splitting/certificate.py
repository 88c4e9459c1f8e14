"""Record in a "leak certificate" how the splits of prepared data were compared, and compare data with it.

The certificate is bound to clean.parquet: it holds a digest of the texts of each split, and of the test reviews on
which models are scored. Texts and splits are read from that file itself, and equal texts in two splits, found by the
first 8 bytes of their SHA-256, are refused, whatever the filters before have decided. Of near-duplicates and passages
it records how `corpus.duplicates` looked for them, and which share that method finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from pydantic import ConfigDict, TypeAdapter

from reviewlm.core.errors import CheckFailed, Damaged, disk_errors
from reviewlm.corpus.duplicates.coverage import PASSAGE, SPAN, STOCK
from reviewlm.corpus.duplicates.exact import cut_ranges, distinct, hash_texts, ranges_for
from reviewlm.corpus.splitting.split import SPLITS, TABLE, iter_split, split_of_group, text_bytes
from reviewlm.models.dataflow import Dataflow
from reviewlm.models.row_groups import row_groups
from reviewlm.models.threads import map_in_order

CERTIFICATE_FILE = "leak_certificate.json"
PARTLY_COVERED = 0.25
"""Coverage from which on a held-out review counts as partly covered; the scores are also given without such reviews."""
BINS = 20
"""Bins of the distribution of coverage."""
EXAMPLES = 5
"""Texts in two splits that the error shows."""
MOST_NAMED = 4 * EXAMPLES
"""Reviews that the error names: each of these texts may be that of several reviews."""
TEXT_LENGTH = 60
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
        test_reviews: Digest of the ids, stars and sizes of the test split, by which scores name the scored reviews.
        exact: `pairs` of texts of different splits that were compared (all of them), and `left`: equal ones among them,
            0 in every certificate.
        near: The same for near-duplicates, which the filter dropped: `pairs` are those compared word by word. Also
            `shorter`, the number of texts with too few words to be near-duplicates, and the method with its parameters.
            None if near-duplicates were not searched.
        coverage: How much of the held-out reviews stands in train: `limit`, the constants of
            `corpus.duplicates.coverage` and, by held-out split, the distribution (`spread`); `left` is 0 here too. None
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
        partly = at_least(self.coverage["test"], PARTLY_COVERED)
        return (
            f"no copy or near copy {of}; passages from it make up less than {self.coverage['limit']:.0%} of each review"
            + (f", and {PARTLY_COVERED:.0%} or more of {partly:,} reviews" if partly else "")
        )


_JSON = TypeAdapter(Certificate)


def spread(coverage_D: np.ndarray) -> dict[str, Any]:
    """Return the distribution of the coverage of reviews (D,).

    Returns:
        Number of `reviews`, mean, number of those with `none`, and number of the others in each of `BINS` equal bins,
        `counts`; a value between two bins belongs to the upper one.
    """
    # Without the small number, rounding would put a share such as 0.15 into the bin below it.
    bins_D = np.minimum((coverage_D * BINS + 1e-9).astype(int), BINS - 1)
    bins_C = bins_D[coverage_D > 0]
    counts = np.bincount(bins_C, minlength=BINS).tolist()
    reviews = len(coverage_D)
    mean = 0.0
    if reviews:
        mean = round(float(coverage_D.mean()), 6)

    return {
        "reviews": reviews,
        "mean": mean,
        "none": reviews - len(bins_C),
        "counts": counts,
    }


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
    return _digest_of_lines(_review_lines(reviews))


def _review_lines(reviews: pl.DataFrame) -> pl.Series:
    return reviews.select(pl.format("{} {} {}", "review_id", "stars", "bytes")).to_series()


def _digest_of_lines(lines: pl.Series) -> str:
    return hashlib.sha256(lines.sort().str.join("\n").item().encode()).hexdigest()


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
        limits = {
            "span": SPAN,
            "passage": PASSAGE,
            "stock": STOCK,
        }
        record = _record(folder, engine)
        if near:
            near = {"left": 0, **near}
        if coverage:
            coverage = {
                "left": 0,
                **limits,
                **coverage,
            }
        certificate = Certificate(
            **record,
            near=near,
            coverage=coverage,
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
    names_leaks = any((part or {}).get("left") for part in (certificate.near, certificate.coverage))
    differs = any(getattr(certificate, name) != value for name, value in current.items())
    if names_leaks or differs:
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
    if engine:
        compared = _compare_on_nodes(folder, engine)
    else:
        compared = _compare(_read_here(folder))

    if len(compared.shared):
        raise _leak_error(folder, compared.shared)
    return compared.record


class _Compared(NamedTuple):
    """Part of the certificate about the table alone, and the hashes of texts that are in two splits."""

    record: dict[str, Any]
    shared: np.ndarray


def _compare(readings: Iterator[list[_TestRows] | _HashRange]) -> _Compared:
    """Add up readings of a table: the test reviews in their order, then all text hashes in ascending ranges."""
    test_digest = hashlib.sha256()
    lines = [pl.Series(dtype=pl.String)]
    reviews = dict.fromkeys(SPLITS, 0)
    texts = dict.fromkeys(SPLITS, 0)
    hashers = {name: hashlib.sha256() for name in SPLITS}
    shared = [np.zeros(0, np.uint64)]
    for part in readings:
        if isinstance(part, list):
            for tests in part:
                test_digest.update(tests.content)
                lines.append(tests.lines)
            continue

        shared.append(part.shared)
        for name, side in part.sides.items():
            reviews[name] += len(side.hashes)
            texts[name] += side.texts
            hashers[name].update(side.hashes.data)

    sides = {}
    for name in SPLITS:
        sides[name] = CertifiedSplit(reviews[name], texts[name], hashers[name].hexdigest())

    test_reviews = ""
    if reviews["test"]:
        test_reviews = _digest_of_lines(pl.concat(lines))

    pairs = sum(texts[one] * texts[other] for one, other in combinations(SPLITS, 2))
    record = {
        "sides": sides,
        "test_digest": test_digest.hexdigest(),
        "test_reviews": test_reviews,
        "exact": {"pairs": pairs, "left": 0},
    }
    return _Compared(record, np.concatenate(shared))


class _TestRows(NamedTuple):
    """Some test reviews, as the digests of the certificate see them: ids with texts; and ids, stars and sizes."""

    content: bytes
    lines: pl.Series


class _Side(NamedTuple):
    """The text hashes of a split in a range of values, ascending and big-endian; the number of different ones."""

    hashes: np.ndarray
    texts: int


class _HashRange(NamedTuple):
    """The text hashes in a range of values, by split, and those that are in two splits, ascending."""

    sides: dict[str, _Side]
    shared: np.ndarray


def _read_here(folder: Path) -> Iterator[list[_TestRows] | _HashRange]:
    """Yield the readings of the table by threads of this process."""
    hashes: dict[str, np.ndarray] = {}
    for name in SPLITS:
        some = [np.zeros(0, np.uint64)]
        hashed = partial(_hash_batch, name)
        # Two threads: one waits for the file.
        for values, rows in map_in_order(hashed, _batches(folder, name), workers=2):
            some.append(values)
            yield rows
        hashes[name] = np.concatenate(some)

    yield _compare_range(hashes)


def _compare_on_nodes(folder: Path, engine: Dataflow) -> _Compared:
    """Have workers read the table, and each compare the texts whose hashes are in a range."""
    groups = row_groups(folder / TABLE)
    ranges = ranges_for(engine.workers())
    hashed = []
    for number in range(len(groups)):
        content = engine.put_file(groups.piece(number))
        hashed.append(engine.submit(_hash_group, ranges, content, results=1 + ranges))

    compared = []
    for number in range(ranges):
        compared += engine.submit(_compare_groups, *(group[1 + number] for group in hashed))

    tests = [group[0] for group in hashed]
    total: _Compared = engine.gather(_compare, [*tests, *compared])
    return total


def _hash_group(ranges: int, content: np.ndarray) -> list[Any]:
    """Return the test reviews of a row group, and the text hashes of each range, by split; on a worker."""
    tests = []
    hashes: dict[str, np.ndarray] = {}
    for name in SPLITS:
        some = [np.zeros(0, np.uint64)]
        for batch in split_of_group(content, name, _BATCH_ROWS, _COLUMNS):
            values, rows = _hash_batch(name, batch)
            some.append(values)
            tests += rows
        hashes[name] = np.concatenate(some)

    places = {name: cut_ranges(values, ranges) for name, values in hashes.items()}
    parts = []
    for number in range(ranges):
        parts.append({name: hashes[name][places[name][number]] for name in SPLITS})
    return [tests, *parts]


def _compare_groups(*parts: Mapping[str, np.ndarray]) -> list[_HashRange]:
    """Compare the text hashes of a range; on a worker."""
    none = np.zeros(0, np.uint64)
    hashes = {}
    for name in SPLITS:
        hashes[name] = np.concatenate([none, *(part[name] for part in parts)])

    return [_compare_range(hashes)]


def _compare_range(hashes: Mapping[str, np.ndarray]) -> _HashRange:
    """Compare the text hashes of each split with those of the others."""
    sides = {}
    different = []
    for name in SPLITS:
        ascending = np.sort(hashes[name])
        new = np.ones(len(ascending), bool)
        np.not_equal(ascending[1:], ascending[:-1], out=new[1:])
        different.append(ascending[new])
        sides[name] = _Side(ascending.astype(">u8"), len(different[-1]))

    shared = []
    for one, other in combinations(different, 2):
        shared.append(np.intersect1d(one, other, assume_unique=True))
    return _HashRange(sides, distinct(np.concatenate(shared)))


def _hash_batch(split: str, batch: pl.DataFrame) -> tuple[np.ndarray, list[_TestRows]]:
    """Return the text hashes of reviews of a split; of test, also the reviews."""
    hashes = _hash_texts(batch)
    if split == "test":
        return hashes, [_TestRows(text_bytes(batch), _review_lines(batch))]
    return hashes, []


def _batches(folder: Path, split: str) -> Iterator[pl.DataFrame]:
    return iter_split(folder, split, _BATCH_ROWS, _COLUMNS)


def _hash_texts(batch: pl.DataFrame) -> np.ndarray:
    """Return a 64-bit hash of each text."""
    return hash_texts(batch["text"])[0].to_numpy()


def _leak_error(folder: Path, shared: np.ndarray) -> CheckFailed:
    """Return the error for texts, given by their hashes, that are in several splits; it names some reviews."""
    named = []
    for split in SPLITS:
        for batch in _batches(folder, split):
            found = pl.Series(np.isin(_hash_texts(batch), shared[:EXAMPLES]))
            for row in batch.filter(found).iter_rows(named=True):
                named.append(f"{split} {row['review_id']}: {row['text'][:TEXT_LENGTH]!r}")

    return CheckFailed(
        f"{len(shared):,} texts are in more than one split: {'; '.join(named[:MOST_NAMED])}",
        where=folder / TABLE,
        remedy="run with --rebuild prepare; if it happens again, the filter of duplicates is broken",
    )
