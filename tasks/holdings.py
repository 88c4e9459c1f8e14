"""List the results of a store with their last uses and inputs, and decide which of them are kept.

Kept are those of the lineages of versions, those that a recent run or a running process has used, and all that these
were made from. Nothing is used or checked by it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.errors import BundleError
from core.lineage import Lineage
from core.manifest import MANIFEST, read_manifest
from core.removal import last_use
from core.sqlite_files import home_database
from core.store import Artifact, newest_first
from evaluation.reports.run_record import REPORTS, read_records
from tasks.embed import START_VECTORS
from tasks.fitting.warm_start import INPUT as START
from tasks.gather import Inputs, by_file
from tasks.stage import MINUTE
from tasks.track import tracker_of
from tracking.logged_models.bundles import record_of
from tracking.logged_models.unused import FINISHED, Run, VersionKey
from tracking.logged_models.unused import RUNNING as STILL_RUNNING
from tracking.registry.decisions import fold_events
from tracking.registry.registry import Registry, Version
from tracking.registry.versions import REFUSED
from tracking.runs.record import known_stores
from tracking.runs.runs import Tracker
from tracking.tags import BUNDLE_TAG, BY_HAND_WHY, DATA_TAG, OUTCOME, SINCE
from training.vectors.stored_rows import HEADER

Key = tuple[str, str]
"""Stage and digest of a stored result."""
VERSION = "lineage of a version"
RUNNING = "used by a running run"
RECENT = "used by a recent run"
YOUNG = "used within a day"
INPUT = "input of a kept result"


class Holdings:
    """The results of a store at one moment. A damaged one is listed too, without inputs.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = {(one.stage, one.digest): one for one in _results(root)}
        self.used = {key: last_use(one.folder) for key, one in self.artifacts.items()}
        self._by_digest: dict[str, list[Key]] = {}
        for key in self.artifacts:
            self._by_digest.setdefault(key[1], []).append(key)
        self._inputs = Inputs(self._all, lambda stage, digest: self.artifacts.get((stage, digest)))

    def made_from(self, key: Key) -> Iterator[Key]:
        """Yield the results behind a result's inputs, by the rules of a lineage record or by their digest alone.

        The weights that a fit started from are followed too: the gate asks which reviews they were trained on. So are
        the word vectors of `reviewlm models embed`: a configuration names their folder.
        """
        if (artifact := self.artifacts.get(key)) is None:
            return
        for name, value in artifact.manifest["inputs"].items():
            maker = self._inputs.maker(artifact, name, value) or self._inputs.fits.get(value)
            if maker is None and name == START:
                maker = self._inputs.weights.get(value)
            if maker is None and key[0] == START_VECTORS and name == "file":
                maker = self._embedded.get(value)
            if maker is not None:
                yield maker.stage, maker.digest
            else:
                yield from self._by_digest.get(value, ())

    def fits_of(self, bundle: str) -> list[Key]:
        """Return the fit with a bundle, by the SHA-256 of its `spec.json`, and the results that describe the bundle."""
        fit = self._inputs.fits.get(bundle)
        about = [key for key, one in self.artifacts.items()
                 if key[0] in ("score", "samples") and one.manifest["inputs"].get("bundle") == bundle]  # fmt: skip
        return [*([(fit.stage, fit.digest)] if fit else []), *about]

    def starts_unknown(self, results: Iterable[Key]) -> bool:
        """Return whether a kept fit started from weights that no stored fit has."""
        starts = (self.artifacts[key].manifest["inputs"].get(START) for key in results if key in self.artifacts)
        return any(start and start not in self._inputs.weights for start in starts)

    @cached_property
    def _embedded(self) -> dict[str, Artifact]:
        """The results of `reviewlm models embed` by the SHA-256 of the file that identifies them."""
        return by_file(self._all("embed"), HEADER)

    def _all(self, stage: str) -> list[Artifact]:
        """Return the undamaged results of a stage, newest first."""
        return [one for one in self.artifacts.values() if one.stage == stage and "facts" in one.manifest]


def kept_results(holdings: Holdings, roots: Mapping[Key, str], limits: Sequence[UsedAfter]) -> dict[Key, str]:
    """Return the kept results with their reasons: roots, results used since one of the times, and all their inputs."""
    return with_inputs(used_since(holdings.used, limits) | dict(roots), holdings.made_from)


def _results(root: Path) -> Iterator[Artifact]:
    for stage in sorted(root.iterdir()) if root.is_dir() else ():
        if stage.is_dir() and not stage.name.startswith("."):
            for folder in newest_first(stage):
                yield Artifact(stage.name, folder.name, str(folder), _manifest(folder))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = read_manifest(folder / MANIFEST)
        return {**manifest, "inputs": dict(manifest["inputs"]), "files": dict(manifest["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"inputs": {}, "files": {}}


@dataclass(frozen=True)
class UsedAfter:
    """A reason to keep what was used at or after a time, in nanoseconds since 1970."""

    time: int
    reason: str


def used_since(used: Mapping[Key, int], limits: Sequence[UsedAfter]) -> dict[Key, str]:
    """Return the results that were used since one of the times, each with the first reason that applies."""
    reasons: dict[Key, str] = {}
    for limit in limits:
        for key, last in used.items():
            if last >= limit.time:
                reasons.setdefault(key, limit.reason)
    return reasons


def with_inputs(roots: Mapping[Key, str], made_from: Callable[[Key], Iterable[Key]]) -> dict[Key, str]:
    """Return the kept results and everything that they were made from, at any distance, each with its reason."""
    reasons, waiting = dict(roots), deque(roots)
    while waiting:
        for key in made_from(waiting.popleft()):
            if key not in reasons:
                reasons[key] = INPUT
                waiting.append(key)
    return reasons


def cutoff(starts: Iterable[int], runs: int) -> int:
    """Return when the oldest of the newest *runs* began; 0, the beginning of time, if there are fewer."""
    newest = sorted(starts, reverse=True)[:runs]
    return newest[-1] if len(newest) == runs else 0


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
