"""Find what versions and runs need from the store: lineages of versions, and how recent a use keeps a result."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.config.run_config import RunConfig
from core.errors import BundleError
from core.lineage.record import Lineage
from core.sqlite_files import home_database
from evaluation.reports.run_record import REPORTS, read_records
from tasks.stage import MINUTE
from tasks.track import tracker_of
from tasks.upkeep.holdings import RECENT, RUNNING, VERSION, YOUNG, Holdings, Key, UsedAfter, cutoff
from tracking.logged_models.bundles import record_of
from tracking.logged_models.unused import FINISHED, Run, VersionKey
from tracking.logged_models.unused import RUNNING as STILL_RUNNING
from tracking.registry.decisions import fold_events
from tracking.registry.registry import Registry, Version
from tracking.registry.versions import REFUSED
from tracking.runs.record import known_stores
from tracking.runs.runs import Tracker
from tracking.tags import BUNDLE_TAG, BY_HAND_WHY, DATA_TAG, OUTCOME, SINCE

COUNTED = ("retrain", "train", "evaluate")
"""Flows that count as runs. Others, such as a comparison, may run often and make nothing of their own."""
SECOND = 1_000_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR


@dataclass(frozen=True)
class Times:
    """Since when a use keeps a result, in nanoseconds since 1970; *recent* is 0 if there are too few runs."""

    recent: int
    young: int
    running: int | None = None

    @property
    def limits(self) -> tuple[UsedAfter, ...]:
        """The times with their reasons."""
        running = () if self.running is None else (UsedAfter(self.running, RUNNING),)
        return (*running, UsedAfter(self.recent, RECENT), UsedAfter(self.young, YOUNG))

    @property
    def oldest(self) -> int:
        """Everything from before this time belongs to no recent run and no running process."""
        return min(limit.time for limit in self.limits)


def trackers_of(config: RunConfig) -> list[Tracker]:
    """Return the connections to the configured MLflow store and to all others that runs of this home folder wrote to.

    The home folder's own database is left out if it does not exist.
    """
    configured = tracker_of(config)
    database = home_database(config.home)
    uris = dict.fromkeys([*([] if configured.uri == database else [configured.uri]), *known_stores(config.home)])
    return [Tracker(uri, configured.experiment, configured.artifact_root) for uri in uris]


def times_of(config: RunConfig, runs: Mapping[str, Sequence[Run]], now: int) -> Times:
    """Return since when a use keeps a result.

    Runs count by the home folder's own database. Another store may be shared with other home folders, so of its runs
    those with a report in this home folder count. An hour is taken off, because clocks differ.

    A process that is no run, such as a notebook, keeps what it has used within a day.

    A run that began later than now was made before the clock was set back. It says nothing about later runs, whose
    times are earlier; what it used has a time later than now, too, and stays.

    Args:
        config: Locates the home folder and says how many runs count.
        runs: Runs of each MLflow store, by its address.
        now: Time in nanoseconds since 1970.
    """
    runs_of_home = runs.get(home_database(config.home), ())
    starts = _starts_of_reports(config.home / REPORTS, {run.id for run in runs_of_home})
    starts += [run.started for run in runs_of_home if run.status == FINISHED and run.flow in COUNTED]
    recent = cutoff((start for start in starts if start <= now), config.upkeep.runs)
    going = [run.started - HOUR for each in runs.values() for run in each if run.status == STILL_RUNNING]
    began = min((time if time <= now else 0 for time in going), default=None)  # 0: it may have used anything since
    return Times(max(0, recent - HOUR), now - DAY, began)


def _starts_of_reports(reports: Path, run_ids: Collection[str]) -> list[int]:
    """Return when the runs with a report began, without those that are *run_ids*."""
    starts = []
    for name, record in read_records(reports).items():
        with suppress(KeyError, ValueError, TypeError):
            if name in run_ids:
                continue
            begun = datetime.strptime(record["run"]["started"], MINUTE).replace(tzinfo=UTC)
            starts.append(int(begun.timestamp()) * SECOND)
    return starts


def kept_versions(versions: Iterable[Version], newest: int) -> list[Version]:
    """Return the versions with an alias, and the newest ones of each registered model."""
    by_name: dict[str, list[Version]] = {}
    for version in sorted(versions, key=lambda one: -one.version):
        by_name.setdefault(version.name, []).append(version)
    return [one for each in by_name.values() for place, one in enumerate(each) if one.aliases or place < newest]


def refused_versions(tracker: Tracker, versions: Iterable[Version], newest: int) -> set[VersionKey]:
    """Return the versions that the gate refused and that were never champion.

    Those with an alias and the newest of each model are left out.
    """
    every = list(versions)
    retained = {(one.name, one.version) for one in kept_versions(every, newest)}
    for name in {one.name for one in every}:
        retained |= {(name, number) for number in fold_events(Registry(tracker, name).events()).past_champions}
    never = (one for one in every if one.tags.get(OUTCOME) == REFUSED and not one.tags.keys() & {SINCE, BY_HAND_WHY})
    return {(one.name, one.version) for one in never} - retained


def results_of(tracker: Tracker, holdings: Holdings, version: Version) -> dict[Key, str]:
    """Return the results in the lineage of a version.

    A version without a record, or whose files are lost, is found by the digests in its tags.

    Raises:
        Damaged: Its record was changed. Nothing may be removed then, because it is not known what it needs.
    """
    results = [("prepare", version.tags.get(DATA_TAG, "")), *holdings.fits_of(version.tags.get(BUNDLE_TAG, ""))]
    if (record := _record(tracker, version)) is not None:
        results += [(step.stage, step.digest) for step in record.steps]
    return dict.fromkeys(results, VERSION)


def _record(tracker: Tracker, version: Version) -> Lineage | None:
    try:
        return record_of(Registry(tracker, version.name).bundle_folder(version))
    except BundleError:
        return None
