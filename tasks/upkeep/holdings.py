"""List the results of a store with their last uses and inputs, and decide which of them are kept.

Kept are those of the lineages of versions, those that a recent run or a running process has used, and all that these
were made from. Nothing is used or checked by it.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from reviewlm.core.config.sections.execution import UpkeepConfig
from reviewlm.core.errors import BundleError
from reviewlm.core.lineage import FITS
from reviewlm.core.manifest import MANIFEST, read_manifest
from reviewlm.core.removal import last_use
from reviewlm.core.sqlite_files import home_database
from reviewlm.core.store import Artifact, newest_first
from reviewlm.evaluation.reports.run_record import REPORTS
from reviewlm.models.bundles.bundle import SPEC
from reviewlm.tasks.embed import START_VECTORS
from reviewlm.tasks.fitting.job import BUNDLE_FOLDER
from reviewlm.tasks.fitting.warm_start import LEARNT, past_of
from reviewlm.tasks.records.gather import Inputs, by_file
from reviewlm.tracking.logged_models.bundles import record_of
from reviewlm.tracking.logged_models.unused import FINISHED, Run, VersionKey
from reviewlm.tracking.logged_models.unused import RUNNING as STILL_RUNNING
from reviewlm.tracking.registry.decisions import fold_events
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import REFUSED, Version
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import BUNDLE_TAG, BY_HAND, DATA_TAG, OUTCOME
from reviewlm.training.vectors.stored_rows import HEADER

Key = tuple[str, str]
"""Stage and digest of a stored result."""
UsedAfter = tuple[int, str]
"""A time in nanoseconds since 1970, and the reason to keep what was used at or after it."""
VERSION = "lineage of a version"
INPUT = "input of a kept result"
RUNNING = "used by a running run"
RECENT = "used by a recent run"
YOUNG = "used within a day"
COUNTED = ("retrain", "train", "evaluate")
"""Flows that count as runs. Others, such as a comparison, may run often and make nothing of their own."""
HOUR = 3600 * 1_000_000_000
DAY = 24 * HOUR


class Holdings:
    """The results of a store at one moment. A damaged one is listed too, without inputs."""

    def __init__(self, root: Path) -> None:
        self.artifacts = {(one.stage, one.digest): one for one in _results(root)}
        self.used = {key: last_use(one.folder) for key, one in self.artifacts.items()}
        by_digest = {digest: one for (_, digest), one in self.artifacts.items()}
        self._inputs = Inputs(self._all, by_digest.get)

    def made_from(self, key: Key) -> Iterator[Key]:
        """Yield the results behind a result's inputs, by the rules of a lineage record, and the data behind a fit.

        The gate asks which reviews a fit, its parts and its start weights were trained on. The word vectors of
        `reviewlm models embed` are followed, too: a configuration names their folder.
        """
        artifact = self.artifacts.get(key)
        if artifact is None:
            return

        for name, value in artifact.manifest["inputs"].items():
            maker = self._inputs.maker(artifact, name, value) or self._inputs.fits.get(value)
            if maker is None and key[0] == START_VECTORS and name == "file":
                maker = self._word_vectors.get(value)
            if maker is not None:
                yield maker.stage, maker.digest

        if key[0] in FITS:
            yield from learnt_by(artifact.folder / BUNDLE_FOLDER)

    def kept_results(self, roots: Mapping[Key, str], limits: Sequence[UsedAfter]) -> dict[Key, str]:
        """Return the kept results with their reasons: roots, results used since one of the times, and their inputs.

        A limit without a reason keeps nothing.
        """
        reasons = {}
        for key, last in self.used.items():
            for time, why in limits:
                if last >= time:
                    if why:
                        reasons[key] = why
                    break

        reasons |= dict(roots)
        waiting = deque(reasons)
        while waiting:
            for key in self.made_from(waiting.popleft()):
                if key not in reasons:
                    reasons[key] = INPUT
                    waiting.append(key)

        return reasons

    def fits_of(self, bundle: str) -> list[Key]:
        """Return the fit with a bundle, by the SHA-256 of its `spec.json`, and the results that describe the bundle."""
        keys: list[Key] = []
        fit = self._inputs.fits.get(bundle)
        if fit:
            keys.append((fit.stage, fit.digest))
        for key, one in self.artifacts.items():
            if key[0] in ("score", "samples") and one.manifest["inputs"].get("bundle") == bundle:
                keys.append(key)

        return keys

    @cached_property
    def _word_vectors(self) -> dict[str, Artifact]:
        """The results of `reviewlm models embed` by the SHA-256 of the file that identifies them."""
        return by_file(self._all("embed"), HEADER)

    def _all(self, stage: str) -> list[Artifact]:
        """Return the undamaged results of a stage, newest first."""
        return [
            artifact
            for artifact in self.artifacts.values()
            if artifact.stage == stage and "facts" in artifact.manifest
        ]


def learnt_by(bundle: Path) -> Iterator[Key]:
    """Yield the prepared data that a bundle has learnt from; none if it cannot be read."""
    with suppress(OSError, ValueError):
        described = json.loads((bundle / SPEC).read_text(encoding="utf-8"))
        yield from (("prepare", digest) for digest in past_of(described)[LEARNT])


def _results(root: Path) -> Iterator[Artifact]:
    for stage in sorted(root.iterdir()) if root.is_dir() else ():
        if stage.is_dir() and not stage.name.startswith("."):
            for folder in newest_first(stage):
                yield Artifact(stage.name, folder.name, str(folder), _manifest(folder))


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        return {"inputs": {}, **read_manifest(folder / MANIFEST)}
    except (OSError, ValueError, KeyError, TypeError):
        return {"inputs": {}, "files": {}}


def cutoff(starts: Iterable[int], runs: int) -> int:
    """Return when the oldest of the newest *runs* began; 0, the beginning of time, if there are fewer."""
    newest = sorted(starts, reverse=True)[:runs]
    return newest[-1] if len(newest) == runs else 0


def limits_of(
    home: Path,
    upkeep: UpkeepConfig,
    runs: Mapping[str, Sequence[Run]],
    now: int,
) -> list[UsedAfter]:
    """Return since when a use keeps a result, with the reasons; the time of `RECENT` is 0 if there are too few runs.

    Runs count by the home folder's own database. Another store may be shared with other home folders, so of its runs
    those with a report in this home folder count. An hour is taken off, because clocks differ.

    A process that is no run, such as a notebook, keeps what it has used within a day.

    A run that began later than now was made before the clock was set back. It says nothing about later runs, whose
    times are earlier; what it used has a time later than now, too, and stays.

    Args:
        runs: Runs of each MLflow store, by its address.
        now: Time in nanoseconds since 1970.
    """
    reports = home / REPORTS
    database = home_database(home)
    starts = []
    for store, each in runs.items():
        for run in each:
            if (
                run.status == FINISHED
                and run.flow in COUNTED
                and run.started <= now
                and (store == database or (reports / run.id).is_dir())
            ):
                starts.append(run.started)

    limits = [(max(0, cutoff(starts, upkeep.runs) - HOUR), RECENT), (now - DAY, YOUNG)]
    going = [
        run.started - HOUR for each in runs.values() for run in each if run.status == STILL_RUNNING
    ]
    # From a time that is still to come, 0: that run may have used anything.
    began = min((time if time <= now else 0 for time in going), default=None)
    if began is None:
        return limits
    return [(began, RUNNING), *limits]


def kept_versions(versions: Iterable[Version], newest: int) -> list[Version]:
    """Return the versions with an alias, and the newest ones of each registered model."""
    by_name = defaultdict[str, list[Version]](list)
    for version in sorted(versions, key=lambda one: -one.version):
        by_name[version.name].append(version)
    return [
        one
        for each in by_name.values()
        for place, one in enumerate(each)
        if one.aliases or place < newest
    ]


def refused_versions(
    tracker: Tracker,
    versions: Sequence[Version],
    newest: int,
) -> set[VersionKey]:
    """Return the versions that the gate refused and that were never champion.

    Those with an alias and the newest of each model are left out.
    """
    retained = {(one.name, one.version) for one in kept_versions(versions, newest)}
    for name in {version.name for version in versions}:
        retained |= {
            (name, number)
            for number in fold_events(Registry(tracker, name).events()).past_champions
        }

    never = []
    for one in versions:
        if one.tags.get(OUTCOME) == REFUSED and BY_HAND not in one.tags:
            never.append(one)

    return {(one.name, one.version) for one in never} - retained


def results_of(
    tracker: Tracker,
    holdings: Holdings,
    version: Version,
) -> dict[Key, str]:
    """Return the results in the lineage of a version.

    A version without a record, or whose files are lost, is found by the digests in its tags.

    Raises:
        Damaged: Its record was changed. Nothing may be removed then, because it is not known what it needs.
    """
    results = [
        ("prepare", version.tags.get(DATA_TAG, "")),
        *holdings.fits_of(version.tags.get(BUNDLE_TAG, "")),
    ]
    with suppress(BundleError):
        bundle = Registry(tracker, version.name).bundle_folder(version)
        results += learnt_by(bundle)
        record = record_of(bundle)
        if record is not None:
            results += [(step.stage, step.digest) for step in record.steps]

    return dict.fromkeys(results, VERSION)
