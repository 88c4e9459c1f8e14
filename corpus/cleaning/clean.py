"""Clean typed parts into one table: apply the normal form, assign the splits, drop duplicates and what train covers.

Rows are ordered by split, and within a split by their place (see `corpus.splitting.split`). This is like a shuffle, but
the same for any order of the input. Memory holds only a batch for each thread, three slices of the order, and a few
numbers per review (`reviewlm.corpus.duplicates.exact`, `reviewlm.corpus.cleaning.clean_table`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from reviewlm.core.config.sections.data import (
    CleanConfig,
    DuplicatesConfig,
    SelectionConfig,
    SplitConfig,
)
from reviewlm.core.environment import available_cores
from reviewlm.core.errors import EmptyInput, disk_errors
from reviewlm.corpus.account import ACCOUNT, Account, merge_entries
from reviewlm.corpus.cleaning.business import Businesses, read_businesses
from reviewlm.corpus.cleaning.clean_account import (
    Gone,
    entries_of_gone,
    entries_of_shares,
    entry_of_keys,
    entry_of_unrated,
    learnt_text,
)
from reviewlm.corpus.cleaning.clean_batch import FILE, CleanCounts, Cleaning, batches_of
from reviewlm.corpus.cleaning.clean_table import SliceRule, Slices, write_clean
from reviewlm.corpus.cleaning.dropping import Dropping
from reviewlm.corpus.cleaning.node_slices import NodeSlices, slices_for
from reviewlm.corpus.cleaning.node_table import write_from_nodes
from reviewlm.corpus.duplicates.exact import TRAIN, ExactDuplicates
from reviewlm.corpus.duplicates.near import NearDuplicates
from reviewlm.corpus.ingestion.build_dataset import DATASET_FILE
from reviewlm.corpus.ingestion.parts import part_files
from reviewlm.corpus.schema import Limits
from reviewlm.corpus.splitting.certificate import Certificate, certify
from reviewlm.corpus.splitting.learnt import find_learnt
from reviewlm.corpus.splitting.shares import measure_shares
from reviewlm.corpus.splitting.split import KEYS, SPLITS, Grouping, remedy_of
from reviewlm.models.dataflow import Dataflow, FilePiece
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.threads import map_in_order

SLICE_BYTES = 32 << 20
"""Approximate bytes of text of a slice; three are in memory at a time, in use and sorted for later."""

ADDED_AT_ONCE = 4
"""Number of cleaned batches that are distributed to the slices together: each slice costs a small file operation."""

Report = Callable[[int, int], None]
"""Progress callback: reviews done, and reviews in total, where each review counts once in every pass."""


def prepare(
    dataset_folder: Path,
    folder: Path,
    clean: CleanConfig,
    split: SplitConfig,
    *,
    selection: SelectionConfig | None = None,
    duplicates: DuplicatesConfig | None = None,
    business: Path | None = None,
    limits: Limits | None = None,
    earlier: Sequence[Path] = (),
    report: Report | None = None,
    threads: int = 0,
    engine: Dataflow | None = None,
) -> dict[str, Any]:
    """Clean an ingested data set, split it and drop duplicates; write `folder/clean.parquet` and its leak certificate.

    The same reviews give the same bytes, for any order of the input and any cut into parts.

    Args:
        dataset_folder: The folder that `reviewlm.corpus.ingestion.build_dataset.assemble` wrote.
        folder: Output folder; it needs space for about four times the text during the work.
        business: Yelp's table of businesses, within *limits*.
        earlier: Folders of prepared data that start weights have learnt from (`reviewlm.corpus.splitting.learnt`).
        threads: Threads that compare, and also clean and hash unless others do; 0: one per core.
        engine: Who cleans, sorts, hashes and encodes the reviews, and keeps them until the table is written; default:
            threads. The result is the same to the bit.

    Returns:
        Facts. rows, `splits` {name: {reviews, bytes, words}}, `test_digest` (SHA-256 of the ids and texts of the test
        split), `normal_form`. Reviews that were dropped: `empty` (nothing left of the text), `languages` {code: reviews
        set aside}, `duplicates` {split: {reason of `corpus.duplicates.exact.REASONS`: reviews}}, with earlier data
        `learnt` {split: {exact, covered: reviews}}. rows + empty + these = the rows of the data set. `near` {pairs,
        examined, within: {split: kept reviews that have a near-duplicate}}, `copies` {split: {groups, reviews}} (kept
        reviews that repeat another one of their split; listed in copies.parquet), `coverage` {held-out split:
        distribution of the coverage by train (`reviewlm.corpus.splitting.certificate.spread`)}, with earlier data
        `learnt_coverage` by those (coverage.parquet lists the larger of the two of each review), `grouping` {by,
        without_key, shares (`corpus.splitting.shares.Shares`); by month: validation_from, test_from, dates_from_data},
        `account` (the entries of this stage for the account of the data). `unrated` {stars:
        reviews that are kept without a rating, because these are not 1, 2, 3, 4 or 5}, the `MOST_VALUES` most frequent
        and "others". With a table of businesses: `business` {businesses, repeated, without_id, unmatched}. `masks`
        {kind of personal data: number of replacements}, `certificate` (digest of the leak certificate).

    Raises:
        EmptyInput: A split would be empty; the error says why and what to do.
        CheckFailed: A text is in two splits, which is not allowed.
        ConfigError: A split by month does not begin with a month.
        Unreadable, MissingColumn: The table of businesses cannot be used.
    """
    form = NormalForm(**clean.model_dump())
    businesses = None
    if business:
        businesses = read_businesses(business, limits)

    duplicates = duplicates or DuplicatesConfig()
    threads = threads or available_cores()
    grouping = Grouping(split, dataset_folder)
    cleaning = Cleaning(form, grouping, selection or SelectionConfig())
    files = _Files.of(dataset_folder)
    passes = _Passes(dataset_folder, 2 + duplicates.near, report)
    with _slices(dataset_folder, folder, grouping, engine) as slices:
        counts = _fill(slices, files, cleaning, passes, threads)
        learnt = _leave_out_learnt(slices, earlier, counts.gone)
        dropping = Dropping(ExactDuplicates(*slices.equal_texts()), duplicates, threads)
        dropping.drop_all(passes, slices, folder / "near", earlier)
        dropping.count_learnt(learnt)
        _require_all_splits(dropping.repeats, counts, learnt, grouping, dataset_folder)
        told = _Told(dropping.repeats.code, counts.gone)
        written = _write(folder, slices, told, passes, businesses)

    left = dropping.repeats.left()
    found = dropping.write(folder, told.ratings())
    index = dropping.index
    near = dropping.near
    del dropping, told, slices  # about 10 bytes per review
    certificate = _write_certificate(folder, index, duplicates, found.spreads, engine)
    shares = measure_shares(folder, split, written["splits"], grouping.dates_given)
    without_key = counts.number("without_key")
    facts = {
        **written,
        **counts.facts(),
        **({"learnt": learnt} if learnt else {}),
        "grouping": grouping.facts(without_key) | {"shares": shares.to_dict()},
        "duplicates": left,
        "near": near,
        "copies": found.copies,
        **found.spreads,
        "normal_form": form.to_dict(),
        "test_digest": certificate.test_digest,
        "certificate": certificate.digest,
    }
    entries = [
        *entries_of_gone(counts.gone, files.names),
        entry_of_unrated(facts["unrated"]),
        entry_of_keys(without_key, KEYS[split.by], grouping.without_key_fate),
        *entries_of_shares(shares, remedy_of(grouping.config)),
        *found.odd,
    ]
    account = Account(files.rows, tuple(merge_entries(entries)))
    account.require_sum(facts["rows"])
    return {**facts, ACCOUNT: [entry.to_dict() for entry in account.entries]}


@dataclass(frozen=True)
class _Files:
    """The files of a data set, and which of its parts are theirs.

    Attributes:
        folder: The folder of the data set.
        rows: Number of reviews of each file, by its name.
        file_of: Number of the file of each part, by the part's name.
    """

    folder: Path
    rows: Mapping[str, int]
    file_of: Mapping[str, int]

    @classmethod
    def of(cls, folder: Path) -> _Files:
        """Read which parts are of which file."""
        with disk_errors(folder):
            sources = orjson.loads((folder / DATASET_FILE).read_bytes())["sources"]

        rows = {source["name"]: source["rows"] for source in sources}
        file_of = {
            part: number for number, source in enumerate(sources) for part in source["parts"]
        }
        return cls(folder, rows, file_of)

    @property
    def names(self) -> list[str]:
        """The name of each file, by its number."""
        return list(self.rows)

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the reviews in order, each batch of one file, with its number in the column `FILE`."""
        for path in part_files(self.folder):
            yield from batches_of(pl.read_parquet(path), self.file_of[path.name])

    def parts(self) -> Iterator[tuple[FilePiece, int]]:
        """Yield each part, and the number of its file."""
        for path in part_files(self.folder):
            yield FilePiece(path), self.file_of[path.name]


class _Told:
    """Facts about the reviews, gathered while the table is written.

    Args:
        code: The reason to drop each review (`ExactDuplicates.code`).
        gone: Where the dropped ones are counted, by reason and file.
    """

    def __init__(self, code: np.ndarray, gone: Gone) -> None:
        self.code = code
        self._gone = gone
        self._start = 0
        self._stars = [np.zeros(0, np.int8)]

    def add(self, rank: int, stars: np.ndarray, file: np.ndarray) -> None:
        """Add the next reviews, which are of one split: their ratings and the numbers of their files."""
        self._stars.append(stars)
        code = self.code[self._start : self._start + len(stars)]
        self._start += len(stars)
        self._gone.add_codes(SPLITS[rank], code, file)

    def through(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the reviews in the order of the splits."""
        for frame in frames:
            self.add(frame["rank"][0], frame["stars"].to_numpy(), frame[FILE].to_numpy())
            yield frame

    def ratings(self) -> np.ndarray:
        """Return the ratings of all reviews (N,)."""
        return np.concatenate(self._stars)


def _write_certificate(
    folder: Path,
    index: NearDuplicates | None,
    config: DuplicatesConfig,
    spreads: dict[str, dict[str, Any]],
    engine: Dataflow | None,
) -> Certificate:
    """Write the leak certificate; the files of the search for near-duplicates go."""
    if index is None:
        return certify(folder, engine=engine)
    shutil.rmtree(index.work)
    coverage = {"limit": config.coverage, **spreads["coverage"]}
    return certify(folder, index.about(), coverage, engine)


@contextmanager
def _slices(
    dataset_folder: Path, folder: Path, grouping: Grouping, engine: Dataflow | None
) -> Iterator[Slices | NodeSlices]:
    """Yield the slices that are sorted, on disk or by workers; remove them from the disk when the table is written."""
    work = folder / "slices"
    with disk_errors(folder):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        size = sum(path.stat().st_size for path in part_files(dataset_folder))
        count = -(-3 * size // SLICE_BYTES)  # text packs to about a third
        if engine:
            rule = SliceRule.of(slices_for(count, engine), grouping.shares, grouping.ranges)
            yield NodeSlices(engine, rule)
        else:
            yield Slices(work, SliceRule.of(count, grouping.shares, grouping.ranges))
        shutil.rmtree(work)


def _fill(
    slices: Slices | NodeSlices, files: _Files, cleaning: Cleaning, passes: _Passes, threads: int
) -> CleanCounts:
    """Clean all reviews and add them to the slices, in the order of the input; return their counts."""
    if isinstance(slices, NodeSlices):
        counts = slices.fill(files.parts(), cleaning, passes.count)
        passes.end()
        return counts

    total = CleanCounts()
    waiting = list[pl.DataFrame]()
    for rows, counts in map_in_order(cleaning, passes.through(files.batches()), threads):
        total.update(counts)
        waiting.append(rows)
        if len(waiting) == ADDED_AT_ONCE:
            slices.add(pl.concat(waiting))
            waiting = []

    if waiting:
        slices.add(pl.concat(waiting))

    return total


def _write(
    folder: Path,
    slices: Slices | NodeSlices,
    told: _Told,
    passes: _Passes,
    businesses: Businesses | None,
) -> dict[str, Any]:
    """Write the reviews that stay; return the facts of `write_clean`."""
    if isinstance(slices, NodeSlices):
        for one in slices.slices:
            told.add(one.rank, one.stars, one.file)
        written = write_from_nodes(folder, slices, told.code, businesses)
        passes.end()
        return written

    frames = told.through(passes.through(slices))
    return write_clean(folder, frames, told.code, businesses)


class _Passes:
    """A progress counter for work that goes over the reviews several times."""

    def __init__(self, dataset_folder: Path, passes: int, report: Report | None) -> None:
        scan = pl.scan_parquet(part_files(dataset_folder))
        self.reviews = scan.select(pl.len()).collect().item()
        self.total = passes * self.reviews
        self.before = 0
        self.report = report

    def through(self, frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        """Yield the frames of the next pass."""
        done = self.before
        for frame in frames:
            yield frame
            done += frame.height
            if self.report:
                self.report(done, self.total)
        self.before += self.reviews

    def count(self, reviews: int) -> None:
        """Count the reviews of the next pass that are done."""
        if self.report:
            self.report(self.before + reviews, self.total)

    def end(self) -> None:
        """End the next pass."""
        self.count(self.reviews)
        self.before += self.reviews


def _leave_out_learnt(
    slices: Slices | NodeSlices, earlier: Sequence[Path], gone: Gone
) -> dict[str, dict[str, int]]:
    """Leave out test and validation reviews whose text was learnt from earlier data; return and count their numbers."""
    if not earlier:
        return {}

    ranks = [np.zeros(0, np.uint8)]
    files = [np.zeros(0, np.uint32)]

    def held_out() -> Iterator[pl.DataFrame]:
        for frame in takewhile(
            lambda frame: SPLITS[frame["rank"][0]] != "train", slices
        ):  # each is of one split
            ranks.append(frame["rank"].to_numpy())
            files.append(frame[FILE].to_numpy())
            yield frame

    learnt = find_learnt(held_out(), earlier)
    slices.leave_out(learnt)
    rank_L = np.concatenate(ranks)[learnt]
    file_L = np.concatenate(files)[learnt]
    numbers: dict[str, dict[str, int]] = {}
    for rank, name in enumerate(SPLITS[:TRAIN]):
        gone.add_all(learnt_text(name), file_L[rank_L == rank])
        numbers[name] = {"exact": int((rank_L == rank).sum())}

    return numbers


def _require_all_splits(
    repeats: ExactDuplicates,
    counts: CleanCounts,
    learnt: Mapping[str, Mapping[str, int]],
    grouping: Grouping,
    folder: Path,
) -> None:
    staying = repeats.kept()
    left = repeats.left()
    for name in SPLITS:
        if not staying[name]:
            covered = left[name].get("covered", 0)
            repeating = sum(learnt.get(name, {}).values())
            gone = sum(left[name].values()) - covered
            aside = counts.number("languages")
            causes = [f"there are only {counts.number('read')} reviews"]
            causes += (
                [f"{gone} were removed from this split as exact or near duplicates"] if gone else []
            )
            causes += (
                [f"{covered} are covered by passages of train (duplicates.coverage)"]
                if covered
                else []
            )
            causes += (
                [f"{repeating} repeat reviews that the start weights have learnt from"]
                if repeating
                else []
            )
            causes += (
                [f"{empty} had no text left after cleaning"]
                if (empty := counts.number("empty"))
                else []
            )
            causes += [f"{aside} are in other languages than selection.languages"] if aside else []
            raise EmptyInput(
                f"The split '{name}' has no reviews",
                where=folder,
                cause="; ".join(causes),
                value=", ".join(f"{side} {staying[side]}" for side in SPLITS),
                remedy=remedy_of(grouping.config),
            )
