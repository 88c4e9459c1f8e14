"""Clean typed parts into one table: apply the normal form, assign the splits, drop duplicates and what train covers.

Rows are ordered by split, and within a split by their place (see `corpus.splitting.split`). This is like a shuffle, but
the same for any order of the input. Memory holds only a batch for each thread, three slices of the order, and a few
numbers per review (`reviewlm.corpus.duplicates.exact`, `reviewlm.corpus.cleaning.clean_table`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
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
from reviewlm.corpus.cleaning.clean_batch import FILE, CleanCounts, Cleaning
from reviewlm.corpus.cleaning.clean_table import SliceRule, Slices, write_clean
from reviewlm.corpus.cleaning.dropping import Dropping, Findings
from reviewlm.corpus.cleaning.node_slices import NodeSlices, slices_for
from reviewlm.corpus.cleaning.node_table import write_from_nodes
from reviewlm.corpus.cleaning.passes import Passes, Report
from reviewlm.corpus.cleaning.source_files import SourceFiles
from reviewlm.corpus.duplicates.exact import TRAIN, ExactDuplicates
from reviewlm.corpus.duplicates.near import NearDuplicates
from reviewlm.corpus.ingestion.parts import part_files
from reviewlm.corpus.schema import ReadingOptions
from reviewlm.corpus.splitting.certificate import Certificate, certify
from reviewlm.corpus.splitting.learnt import find_learnt
from reviewlm.corpus.splitting.shares import Shares, measure_shares
from reviewlm.corpus.splitting.split import KEYS, SPLITS, Grouping, remedy_of
from reviewlm.models.dataflow import Dataflow
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.threads import map_in_order

SLICE_BYTES = 32 << 20
"""Approximate bytes of text of a slice; three are in memory at a time, in use and sorted for later."""

ADDED_AT_ONCE = 4
"""Number of cleaned batches that are distributed to the slices together: each slice costs a small file operation."""


def prepare(
    dataset_folder: Path,
    folder: Path,
    clean: CleanConfig,
    split: SplitConfig,
    *,
    selection: SelectionConfig | None = None,
    duplicates: DuplicatesConfig | None = None,
    business: Path | None = None,
    reading: ReadingOptions | None = None,
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
        business: Yelp's table of businesses, read with *reading*.
        earlier: Folders of prepared data that start weights have learnt from (`reviewlm.corpus.splitting.learnt`).
        threads: Threads that compare, and also clean and hash unless others do; 0: one per core.
        engine: Who cleans, sorts, hashes and encodes the reviews, and keeps them until the table is written; default:
            threads. The result is the same to the bit.

    Returns:
        The facts, in which rows + `empty` + `languages` + `duplicates` + `learnt` are the rows of the data set:

        - `rows`, `splits` {name: {reviews, bytes, words}}, `normal_form`;
        - `test_digest`: SHA-256 of the ids and texts of the test split;
        - `empty`: reviews dropped because nothing is left of their text;
        - `languages` {code: reviews that were set aside};
        - `duplicates` {split: {reason of `corpus.duplicates.exact.REASONS`: reviews that were dropped}};
        - `learnt` {split: {exact, covered: reviews that were dropped}}, with earlier data;
        - `near` {pairs, examined, within: {split: kept reviews that have a near-duplicate}};
        - `copies` {split: {groups, reviews}}: kept reviews that repeat another one of their split, listed in
          copies.parquet;
        - `coverage` {held-out split: distribution of the coverage by train
          (`reviewlm.corpus.splitting.certificate.spread`)}, and with earlier data `learnt_coverage` by those.
          coverage.parquet lists the larger of the two of each review;
        - `grouping` {by, without_key, shares (`corpus.splitting.shares.Shares`)}, by month also {validation_from,
          test_from, dates_from_data};
        - `unrated` {stars: reviews that are kept without a rating, because these are not 1, 2, 3, 4 or 5}, the
          `MOST_VALUES` most frequent and "others";
        - `business` {businesses, repeated, without_id, unmatched}, with a table of businesses;
        - `masks` {kind of personal data: number of replacements};
        - `certificate`: digest of the leak certificate;
        - `account`: the entries of this stage for the account of the data.

    Raises:
        EmptyInput: A split would be empty; the error says why and what to do.
        CheckFailed: A text is in two splits, which is not allowed.
        ConfigError: A split by month does not begin with a month.
        Unreadable, MissingColumn: The table of businesses cannot be used.
    """
    form = NormalForm(**clean.model_dump())
    duplicates = duplicates or DuplicatesConfig()
    threads = threads or available_cores()
    grouping = Grouping(split, dataset_folder)
    files = SourceFiles.of(dataset_folder)
    cleaning = Cleaning(form, grouping, selection or SelectionConfig())
    passes = Passes(dataset_folder, 2 + duplicates.near, report)
    businesses = None
    if business:
        businesses = read_businesses(business, reading)

    table = _write_table(
        folder,
        files,
        cleaning,
        duplicates,
        earlier,
        businesses,
        passes,
        threads,
        engine,
    )
    certificate = _write_certificate(
        folder,
        table.index,
        duplicates,
        table.findings.spreads,
        engine,
    )
    shares = measure_shares(folder, split, table.written["splits"], grouping.dates_given)
    facts = _facts(
        table,
        grouping,
        shares,
        form,
        certificate,
    )
    account = _account(
        table,
        files,
        grouping,
        shares,
        facts["unrated"],
    )
    account.require_sum(facts["rows"])
    return {**facts, ACCOUNT: [entry.to_dict() for entry in account.entries]}


@dataclass(frozen=True)
class _Table:
    """The table as it was written, and what was found on the way.

    Attributes:
        written: Facts of `write_clean`.
        counts: Reviews that were read, left out or changed one by one.
        learnt: Held-out reviews that start weights have learnt from, by split and reason.
        dropped: Reviews that were dropped because others say the same, by split and reason.
        findings: Facts about the reviews that stay.
        near: Facts about near-duplicates.
        index: The search for near-duplicates; None: it was not asked for.
    """

    written: dict[str, Any]
    counts: CleanCounts
    learnt: dict[str, dict[str, int]]
    dropped: dict[str, dict[str, int]]
    findings: Findings
    near: dict[str, Any]
    index: NearDuplicates | None


def _write_table(
    folder: Path,
    files: SourceFiles,
    cleaning: Cleaning,
    duplicates: DuplicatesConfig,
    earlier: Sequence[Path],
    businesses: Businesses | None,
    passes: Passes,
    threads: int,
    engine: Dataflow | None,
) -> _Table:
    """Clean the reviews, drop duplicates and write the others; what is kept for each review ends with this function."""
    grouping = cleaning.grouping
    with _slices(files.folder, folder, grouping, engine) as slices:
        counts = _fill(
            slices,
            files,
            cleaning,
            passes,
            threads,
        )
        learnt = _leave_out_learnt(slices, earlier, counts.gone)
        dropping = Dropping(ExactDuplicates(*slices.equal_texts()), duplicates, threads)
        dropping.drop_all(passes, slices, folder / "near", earlier)
        dropping.count_learnt(learnt)
        _require_all_splits(
            dropping.repeats,
            counts,
            learnt,
            grouping,
            files.folder,
        )
        row_facts = _RowFacts(dropping.repeats.code, counts.gone)
        written = _write(
            folder,
            slices,
            row_facts,
            passes,
            businesses,
        )

    dropped = dropping.repeats.left()
    findings = dropping.write(folder, row_facts.ratings())
    return _Table(
        written,
        counts,
        learnt,
        dropped,
        findings,
        dropping.near,
        dropping.index,
    )


def _facts(
    table: _Table,
    grouping: Grouping,
    shares: Shares,
    form: NormalForm,
    certificate: Certificate,
) -> dict[str, Any]:
    """Return the facts of `prepare`, but for the account."""
    facts = {**table.written, **table.counts.facts()}
    if table.learnt:
        facts["learnt"] = table.learnt

    without_key = table.counts.number("without_key")
    facts["grouping"] = grouping.facts(without_key) | {"shares": shares.to_dict()}
    facts["duplicates"] = table.dropped
    facts["near"] = table.near
    facts["copies"] = table.findings.copies
    facts |= table.findings.spreads
    facts["normal_form"] = form.to_dict()
    facts["test_digest"] = certificate.test_digest
    facts["certificate"] = certificate.digest
    return facts


def _account(
    table: _Table,
    files: SourceFiles,
    grouping: Grouping,
    shares: Shares,
    unrated: Mapping[str, int],
) -> Account:
    """Return the account of the data with the entries of this stage."""
    key = KEYS[grouping.config.by]
    without_key = table.counts.number("without_key")
    entries = entries_of_gone(table.counts.gone, files.names)
    entries.append(entry_of_unrated(unrated))
    entries.append(entry_of_keys(without_key, key, grouping.without_key_fate))
    entries += entries_of_shares(shares, remedy_of(grouping.config))
    entries += table.findings.odd
    return Account(files.rows, tuple(merge_entries(entries)))


class _RowFacts:
    """Ratings of all reviews and files of the dropped ones, gathered while the table is written.

    Args:
        code: The reason to drop each review (`ExactDuplicates.code`).
        gone: Where the dropped ones are counted, by reason and file.
    """

    def __init__(self, code: np.ndarray, gone: Gone) -> None:
        self.code = code
        self._gone = gone
        self._start = 0
        self._stars = [np.zeros(0, np.int8)]

    def add(
        self,
        rank: int,
        stars: np.ndarray,
        file: np.ndarray,
    ) -> None:
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
    dataset_folder: Path,
    folder: Path,
    grouping: Grouping,
    engine: Dataflow | None,
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
    slices: Slices | NodeSlices,
    files: SourceFiles,
    cleaning: Cleaning,
    passes: Passes,
    threads: int,
) -> CleanCounts:
    """Clean all reviews and add them to the slices, in the order of the input; return their counts."""
    if isinstance(slices, NodeSlices):
        counts = slices.fill(files.parts(), cleaning, passes.count)
        passes.end()
        return counts

    total = CleanCounts()
    waiting: list[pl.DataFrame] = []
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
    row_facts: _RowFacts,
    passes: Passes,
    businesses: Businesses | None,
) -> dict[str, Any]:
    """Write the reviews that stay; return the facts of `write_clean`."""
    if isinstance(slices, NodeSlices):
        for one in slices.slices:
            row_facts.add(one.rank, one.stars, one.file)
        written = write_from_nodes(folder, slices, row_facts.code, businesses)
        passes.end()
        return written

    frames = row_facts.through(passes.through(slices))
    return write_clean(folder, frames, row_facts.code, businesses)


def _leave_out_learnt(
    slices: Slices | NodeSlices,
    earlier: Sequence[Path],
    gone: Gone,
) -> dict[str, dict[str, int]]:
    """Leave out test and validation reviews whose text was learnt from earlier data; return and count their numbers."""
    if not earlier:
        return {}

    ranks = [np.zeros(0, np.uint8)]
    files = [np.zeros(0, np.uint32)]

    def held_out() -> Iterator[pl.DataFrame]:
        # Each frame is of one split.
        for frame in takewhile(lambda frame: SPLITS[frame["rank"][0]] != "train", slices):
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
    """Raise EmptyInput if a split would have no reviews; it says what became of them."""
    staying = repeats.kept()
    dropped = repeats.left()
    for name in SPLITS:
        if staying[name]:
            continue

        covered = dropped[name].get("covered", 0)
        repeated = sum(dropped[name].values()) - covered
        learnt_before = sum(learnt.get(name, {}).values())
        reasons = {
            "were removed from this split as exact or near duplicates": repeated,
            "are covered by passages of train (duplicates.coverage)": covered,
            "repeat reviews that the start weights have learnt from": learnt_before,
            "had no text left after cleaning": counts.number("empty"),
            "are in other languages than selection.languages": counts.number("languages"),
        }
        causes = [f"there are only {counts.number('read')} reviews"]
        causes += [f"{number} {reason}" for reason, number in reasons.items() if number]
        raise EmptyInput(
            f"The split '{name}' has no reviews",
            where=folder,
            cause="; ".join(causes),
            value=", ".join(f"{side} {staying[side]}" for side in SPLITS),
            remedy=remedy_of(grouping.config),
        )
