"""Remove the reviews of a person from a home folder, and say which models have learnt from them.

Nothing is listed by hand: every file of the home is looked through for the ids and for passages of the texts
(`corpus/traces.py`). A result that holds them is removed whole, and so is what was fitted on it: the next run builds both
again, without them, because their ids are in a list that every reading asks (`corpus/ingestion/forgotten.py`). A file with
the bytes of one of these results goes, too. Registered versions are not changed, because a changed bundle is refused:
they are named, and deleted on demand.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.errors import ArtifactError, BundleError, Damaged, disk_errors
from reviewlm.core.lineage import FITS
from reviewlm.core.manifest import MANIFEST, read_manifest, sha256_of
from reviewlm.core.removal import Removal, one_collection
from reviewlm.core.workspace import Workspace
from reviewlm.corpus.ingestion.forgotten import FILE, Forgotten
from reviewlm.corpus.ingestion.forgotten import hand_list_on as hand_list_on
from reviewlm.corpus.ingestion.parts import PARTS, QUARANTINE_FILE
from reviewlm.corpus.reading.convert import one_form
from reviewlm.corpus.traces import Traces, is_database, passages_of, without_common
from reviewlm.tasks.records.track import tracker_of
from reviewlm.tasks.upkeep.collect import trackers_of
from reviewlm.tasks.upkeep.holdings import Holdings, Key
from reviewlm.tracking.logged_models.bundles import record_of
from reviewlm.tracking.logged_models.unused import (
    RUNNING,
    LoggedFiles,
    all_versions,
    models_of,
    remove_model,
    runs_of,
)
from reviewlm.tracking.registry.registered_model import registry_lock
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import CHALLENGER, PREVIOUS, Version
from reviewlm.tracking.runs.runs import Tracker, end_left_runs
from reviewlm.tracking.tags import DATA_TAG

LEARNING = (*FITS, "vocabulary", "vectors", "embed", "punctuation", "plan", "pace", "canaries")
"""Stages whose results are learnt from the training or the validation reviews."""
LEARNT_FROM = ("train", "validation")
"""Splits that models learn from: weights from the first, settings and the length of the training from the second."""
READ = "results of read"
REPLACEABLE = frozenset({PREVIOUS, CHALLENGER})
"""Aliases that the gate gives, of versions that answer no request."""
SMALLEST_COPY = 64
"""Bytes of a file from which on equal bytes say that it is a copy."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WantedRecords:
    """The records to forget, as the results of the stage "read" hold them.

    Attributes:
        reviews: Ids of the reviews.
        texts: Their texts, also as cleaned.
        files: Names of the files that they were read from, with how many records, and the SHA-256 of each file.
    """

    reviews: frozenset[str]
    texts: tuple[str, ...]
    files: Mapping[str, int]
    sha256: tuple[str, ...]


@dataclass(frozen=True)
class LoggedModel:
    """A logged model, the connection that lists it, and the digest of the fit that it was made from."""

    tracker: Tracker
    files: LoggedFiles
    fit: str


@dataclass(frozen=True)
class Holder:
    """Something in the home that holds the reviews or was made of them.

    Attributes:
        kind: What it is, for the summary.
        path: The folder of a result, or a file.
        model: The logged model that it is, or that it belongs to, if there is one.
    """

    kind: str
    path: Path
    model: LoggedModel | None = None

    @property
    def stays(self) -> bool:
        """Whether the holder is not removed: a registered version is not changed."""
        return self.model is not None and bool(self.model.files.versions)


def forget(
    workspace: Workspace,
    reviews: Sequence[str],
    users: Sequence[str],
    dry_run: bool = False,
    delete_versions: bool = False,
) -> dict[str, Any]:
    """Remove reviews, given by their ids or by those of their authors, from the home folder.

    Args:
        dry_run: Only say what would be removed.
        delete_versions: Delete the registered versions that have learnt from forgotten reviews, except the champion
            and those with an alias of a person.

    Returns:
        JSON values: number of `reviews` found; `files` they were read from, which still hold them; what was `removed`;
        `versions` that have learnt from forgotten reviews; paths that are `left`; notes.

    Raises:
        ArtifactError: A run or a collection is going on.
    """
    home = workspace.home
    store = workspace.home / "store"
    removal = Removal(store)
    with disk_errors(home), nullcontext() if dry_run else one_collection(store):
        trackers = trackers_of(workspace)
        if not dry_run:
            end_left_runs(home)
        _require_no_run(trackers)
        found = _find(store, reviews, users)
        traces = Traces(frozenset({*reviews, *users, *found.reviews}), _passages(store, found))
        forgotten = Forgotten.of(home).plus([*reviews, *found.reviews], users)
        holdings = Holdings(store)
        held = [key for key in holdings.artifacts if _holds(traces, store.joinpath(*key))]
        data = _learnt_from(store, held, traces)
        fitted = _fitted_on(holdings, data)
        forgotten = _with_data(forgotten.with_files(found.sha256, found.reviews), held, data)
        holders = list(
            _holders(
                home,
                store,
                traces,
                held,
                fitted,
                trackers,
            )
        )
        if not dry_run:
            forgotten.save(home)  # first: a run that begins now must not read them again
            _remove(holders, removal, traces)
        versions = _versions(trackers, forgotten.learnt, holders)
        gone = 0
        if delete_versions and not dry_run:
            gone = _delete(workspace, trackers, versions, removal)

        left = []
        if not dry_run:
            removal.empty()
            again = _holders(
                home,
                store,
                traces,
                (),
                (),
                trackers,
            )
            left = [str(holder.path) for holder in again]

    removed = Counter(holder.kind for holder in holders if not holder.stays)
    removed += Counter({"registered versions": gone})
    counts = [{"kind": kind, "number": number} for kind, number in sorted(removed.items())]
    files = [{"name": name, "records": count} for name, count in found.files.items()]
    remaining = [row for row in versions if not row.pop("deleted", False)]
    return {
        "dry_run": dry_run,
        "reviews": len(found.reviews),
        "files": files,
        "removed": counts,
        "versions": remaining,
        "left": left,
        "notes": list(_notes(trackers)),
    }


def _with_data(
    forgotten: Forgotten,
    held: Iterable[Key],
    data: Iterable[Key],
) -> Forgotten:
    """Add the prepared data that hold forgotten reviews, and those where these are in a split to learn from."""
    prepared = {digest for stage, digest in held if stage == "prepare"}
    learnt = {digest for _, digest in data}
    return replace(
        forgotten, prepared=forgotten.prepared | prepared, learnt=forgotten.learnt | learnt
    )


def _require_no_run(trackers: Iterable[Tracker]) -> None:
    for tracker in trackers:
        if any(run.status == RUNNING for run in runs_of(tracker)):
            raise ArtifactError(
                "A run is going on in this home folder",
                where=tracker.shown,
                cause="it could write the reviews again after they were removed",
                remedy="wait until it ends, or stop it",
            )


def _find(
    store: Path,
    reviews: Sequence[str],
    users: Sequence[str],
) -> WantedRecords:
    """Return the records in the results of "read" whose review_id or user_id is given."""
    wanted = Traces(frozenset({*reviews, *users}))
    ids: set[str] = set()
    texts: set[str] = set()
    files = Counter[str]()
    sha256: set[str] = set()
    for folder in sorted((store / "read").glob("*")):
        here = Counter[str]()
        for part in _tables(folder):
            by_review = pl.col("review_id").is_in(list(reviews))
            by_user = pl.col("user_id").is_in(list(users))
            rows = pl.scan_parquet(part).filter(by_review | by_user)
            mine = rows.select("review_id", "text", "source").collect(engine="streaming")
            ids |= set(mine["review_id"].to_list())
            texts |= set(mine["text"].to_list())
            here.update(mine["source"].to_list())
        for bad in _find_in_quarantine(folder):
            if wanted.in_raw(bad["raw"]):
                here[bad["source"]] += 1
                texts.add(bad["raw"].decode("utf-8", "replace"))
        if here:
            sha256.add(_source_of(folder))
        files.update(here)

    return WantedRecords(frozenset(ids), tuple(texts), dict(files), tuple(sorted(sha256 - {""})))


def _tables(reading: Path) -> Iterator[Path]:
    """Yield the parts of a reading that are undamaged tables."""
    for part in sorted((reading / PARTS).glob("*.parquet")):
        try:
            pl.scan_parquet(part).select("review_id", "user_id", "text").collect()
            yield part
        except (OSError, pl.exceptions.PolarsError) as error:
            log.warning("%s cannot be read: %s", part, error)


def _find_in_quarantine(reading: Path) -> Iterator[dict[str, Any]]:
    try:
        yield from pl.read_parquet(reading / QUARANTINE_FILE).iter_rows(named=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        log.warning("%s cannot be read: %s", reading / QUARANTINE_FILE, error)


def _source_of(reading: Path) -> str:
    with suppress(OSError, ValueError, KeyError):
        return str(read_manifest(reading / MANIFEST)["inputs"]["file"])
    return ""


def _passages(store: Path, found: WantedRecords) -> tuple[str, ...]:
    """Return passages of the texts, as they were written and as they were cleaned, which are in no other review."""
    texts = [*found.texts]
    for file in sorted((store / "prepare").glob("*/clean.parquet")):
        rows = pl.scan_parquet(file).filter(pl.col("review_id").is_in(list(found.reviews)))
        texts += rows.select("text").collect(engine="streaming").to_series().to_list()
    passages = [passage for text in texts for passage in passages_of(text)]
    if passages:
        return without_common(passages, _other_texts(store, found))
    return ()


def _other_texts(store: Path, found: WantedRecords) -> Iterator[pl.Series]:
    for part in chain.from_iterable(map(_tables, sorted((store / "read").glob("*")))):
        rows = pl.scan_parquet(part).filter(~pl.col("review_id").is_in(list(found.reviews)))
        yield rows.select("text").collect().to_series()


def _holds(traces: Traces, folder: Path) -> bool:
    return any(traces.in_file(file) for file in sorted(folder.rglob("*")) if file.is_file())


def _learnt_from(
    store: Path,
    held: Iterable[Key],
    traces: Traces,
) -> list[Key]:
    """Return the prepared data in which one of the reviews is in a split that models learn from."""
    data = []
    for stage, digest in held:
        file = store / stage / digest / "clean.parquet"
        if stage == "prepare" and file.is_file():
            rows = pl.scan_parquet(file).filter(pl.col("review_id").is_in(sorted(traces.ids)))
            splits = rows.select("split").collect().to_series()
            if splits.is_in(LEARNT_FROM).any():
                data.append((stage, digest))
    return data


def _fitted_on(holdings: Holdings, data: Iterable[Key]) -> list[Key]:
    """Return the results that were learnt from prepared data, and the bundles and figures that were made of them."""
    children: dict[Key, list[Key]] = {}
    for key in holdings.artifacts:
        for maker in holdings.made_from(key):
            children.setdefault(maker, []).append(key)

    reached = dict.fromkeys(data)
    waiting = list(data)
    while waiting:
        for key in children.get(waiting.pop(), ()):
            if key not in reached:
                reached[key] = None
                waiting.append(key)

    return [key for key in reached if key[0] in LEARNING]


def _holders(
    home: Path,
    store: Path,
    traces: Traces,
    held: Iterable[Key],
    fitted: Iterable[Key],
    trackers: Iterable[Tracker],
) -> Iterator[Holder]:
    """Yield the holders of the reviews and of what was learnt from them: results, logged models, then all other files."""
    results = dict.fromkeys([*held, *fitted])
    for key in results:
        yield Holder(f"results of {key[0]}", store.joinpath(*key))

    fits = {digest for stage, digest in results if stage in FITS}
    models = {model.files.folder: model for tracker in trackers for model in _models(tracker)}
    going = {}
    for folder, model in models.items():
        if not model.files.versions and model.fit in fits:
            going[folder] = model
            yield Holder("logged models", folder, model)

    sizes = _files_by_size(store.joinpath(*key) for key in results)
    for file in _files_of(home):
        inside = file.relative_to(home).parts
        if inside[0] == "store" and tuple(inside[1:3]) in results:
            continue
        owner = next((models[above] for above in file.parents if above in models), None)
        may_be_copy = owner is None and inside[0] != "store"
        if not traces.in_file(file) and not (may_be_copy and _is_copy(file, sizes)):
            continue
        if owner and owner.files.versions:
            yield Holder("files of registered versions", file, owner)
        elif owner and owner.files.folder not in going:
            going[owner.files.folder] = owner
            yield Holder("logged models", owner.files.folder, owner)
        elif not owner:
            yield Holder(f"files of {inside[0]}" if inside[1:] else inside[0], file)


def _models(tracker: Tracker) -> Iterator[LoggedModel]:
    fits = {run.id: run.fit for run in runs_of(tracker)}
    for files in models_of(tracker, all_versions(tracker)):
        yield LoggedModel(tracker, files, fits.get(files.run_id, ""))


def _files_of(home: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(home):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            if file != home / FILE and file.is_file() and not file.is_symlink():
                yield file


def _files_by_size(folders: Iterable[Path]) -> dict[int, set[str]]:
    """Return the SHA-256 of all files of results by their size."""
    sizes: dict[int, set[str]] = {}
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file() and file.stat().st_size >= SMALLEST_COPY:
                sizes.setdefault(file.stat().st_size, set()).add(sha256_of(file))
    return sizes


def _is_copy(file: Path, sizes: Mapping[int, set[str]]) -> bool:
    same_size = sizes.get(file.stat().st_size)
    return same_size is not None and sha256_of(file) in same_size


def _remove(
    holders: Iterable[Holder],
    removal: Removal,
    traces: Traces,
) -> None:
    # What was read goes last: if this is killed, a repetition learns from it what to look for.
    for holder in sorted(holders, key=lambda one: one.kind == READ):
        if holder.stays:
            continue
        if holder.model:
            remove_model(holder.model.tracker, holder.model.files, removal.remove_other)
        elif holder.path.is_dir():
            removal.remove_other(holder.path)
        elif is_database(holder.path):
            _redact_database(holder.path, traces)
        elif holder.path.suffix == ".log":
            _redact_log(holder.path, traces)
        else:
            holder.path.unlink(missing_ok=True)


def _redact_database(file: Path, traces: Traces) -> None:
    try:
        traces.redact(file)
    except sqlite3.OperationalError as error:  # what was not replaced is named as left
        log.warning("%s cannot be changed now (%s): repeat the command", file, error)


def _redact_log(file: Path, traces: Traces) -> None:
    """Replace lines in place: a service that runs keeps the file open."""
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    with file.open("r+", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(traces.without_needles(text))
        stream.truncate()


def _versions(
    trackers: Iterable[Tracker],
    learnt: frozenset[str],
    holders: Sequence[Holder],
) -> list[dict[str, Any]]:
    """Return the registered versions that have learnt from forgotten reviews, or whose files hold them."""
    holding = Counter(
        key for holder in holders if holder.model for key in sorted(holder.model.files.versions)
    )
    rows = []
    for tracker in trackers:
        for version in all_versions(tracker):
            has_learnt = not learnt.isdisjoint(_data_of(tracker, version))
            files = holding[version.name, version.version]
            if has_learnt or files:
                rows.append(
                    {
                        "model": version.name,
                        "version": version.version,
                        "aliases": sorted(version.aliases),
                        "learnt": has_learnt,
                        "files": files,
                    }
                )

    return rows


def _data_of(tracker: Tracker, version: Version) -> set[str]:
    """Return the digests of the results behind a version, as far as they are recorded."""
    digests = {version.tags.get(DATA_TAG, "")}
    with suppress(BundleError, Damaged):  # one with a changed record is known by its tag
        record = record_of(Registry(tracker, version.name).bundle_folder(version))
        digests |= {step.digest for step in record.steps} if record else set()
    return digests - {""}


def _delete(
    workspace: Workspace,
    trackers: Iterable[Tracker],
    versions: Sequence[dict[str, Any]],
    removal: Removal,
) -> int:
    """Delete versions that are in no use and have no alias of a person, mark them as deleted; return their number."""
    unused = [row for row in versions if REPLACEABLE.issuperset(row["aliases"])]
    chosen = {(row["model"], row["version"]): row["aliases"] for row in unused}
    with registry_lock(tracker_of(workspace)):
        for tracker in trackers:
            for model in models_of(tracker, all_versions(tracker)):
                if model.versions and model.versions <= chosen.keys():
                    for key in model.versions:
                        _delete_aliases(tracker, key[0], chosen[key])
                    remove_model(tracker, model, removal.remove_other)
        names = {(one.name, one.version) for tracker in trackers for one in all_versions(tracker)}

    for row in versions:
        row["deleted"] = (row["model"], row["version"]) not in names

    return sum(row["deleted"] for row in versions)


def _delete_aliases(
    tracker: Tracker,
    name: str,
    aliases: Iterable[str],
) -> None:
    with tracker.reaching() as client:
        for alias in aliases:
            client.delete_registered_model_alias(name, alias)


def _notes(trackers: Iterable[Tracker]) -> Iterator[str]:
    for tracker in trackers:
        if tracker.uri.startswith("http"):
            yield f"not looked through: the runs and files at {tracker.shown}"
    if os.environ.get("PREFECT_API_DATABASE_CONNECTION_URL"):
        yield "not looked through: Prefect's database, which is outside this home"
    yield (
        "not looked through: backups, and files that were written with --out; after a restore of an older backup, "
        "forget again"
    )


def ids_in_our_form(given: Sequence[str]) -> list[str]:
    """Return ids as the reviews have them: without blanks, and a whole number without `.0`."""
    stripped = [one.strip() for one in given]
    column = pl.DataFrame({"id": stripped}, schema={"id": pl.String}).select(one_form(pl.col("id")))
    return [one for one in column.to_series().to_list() if one]
