"""List the steps of a lineage, and check that all files a version was made from still exist and are unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.errors import ArtifactError, Damaged
from core.lineage.record import LINEAGE_TAG, Lineage, RecordedSource
from core.manifest import CHANGED, GONE, MANIFEST, differing_files, sha256_of_file

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size_of(count: int) -> str:
    """Return a number of bytes with a suitable unit."""
    value = float(count)
    for unit in UNITS:
        if value < 1024 or unit == UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError("unreachable")


def moment(seconds: float) -> str:
    """Return a time as UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def step_rows(lineage: Lineage) -> list[dict[str, Any]]:
    """Return one row of plain values per step, for JSON."""
    links = lineage.links()
    return [
        {
            "stage": step.stage, "label": lineage.label(step), "digest": step.digest, "version": step.version,
            "content": step.content, "link": links[step.key], "bytes": step.bytes, "files": len(step.files),
            "created": moment(step.created), "seconds": step.seconds,
            "git_commit": step.environment.get("git_commit", ""), "inputs": step.inputs,
        }
        for step in lineage.steps
    ]


SPEC, BUNDLE = "spec.json", "bundle/"


@dataclass(frozen=True)
class Defect:
    """A file, step or source that is missing or changed.

    Args:
        key: Key of the step or hash of the source; "bundle" or "record" for the version itself.
        state: "gone" or "changed".
        where: The file or folder.
    """

    key: str
    state: str
    where: str


def present(lineage: Lineage, store: Path) -> list[Defect]:
    """Return the steps that are missing from the store; nothing is hashed."""
    steps = [(step.key, store / step.key) for step in lineage.steps]
    return [Defect(key, GONE, str(folder)) for key, folder in steps if not (folder / MANIFEST).is_file()]


def verify(lineage: Lineage, store: Path, bundle: Path, root: str = "") -> list[Defect]:
    """Hash the record, the bundle of the version, the files of every step, and the sources again.

    Args:
        store: Folder of the artifacts.
        bundle: Folder of the version's bundle.
        root: Value of the version's lineage tag, "" if it has none.
    """
    defects = [Defect("record", CHANGED, f"tag {LINEAGE_TAG}")] if root and root != lineage.root else []
    defects += _bundle(lineage, bundle)
    missing = present(lineage, store)
    gone = {finding.key for finding in missing}
    for step in lineage.steps:
        if step.key not in gone:
            states = differing_files(store / step.key, step.files)
            defects += [Defect(step.key, state, str(store / step.key / name)) for name, state in states.items()]
    return [*defects, *missing, *(finding for source in lineage.sources if (finding := _source(source, store)))]


def _bundle(lineage: Lineage, bundle: Path) -> list[Defect]:
    files = {
        name.removeprefix(BUNDLE): entry
        for name, entry in lineage.step(lineage.fit).files.items()
        if name.startswith(BUNDLE)
    }
    states = differing_files(bundle, files)
    defects = [Defect("bundle", state, str(bundle / name)) for name, state in states.items()]
    if not defects and sha256_of_file(bundle / SPEC) != lineage.bundle:
        defects.append(Defect("bundle", CHANGED, str(bundle / SPEC)))
    return defects


def _source(source: RecordedSource, store: Path) -> Defect | None:
    """Return whether a raw file is gone or changed.

    A source without a path is a file of an artifact or of the version, and is not checked here.
    """
    if not source.path:
        return None
    path = source.place(store)
    if not path.is_file():
        return Defect(source.sha256, GONE, source.path)
    return None if sha256_of_file(path) == source.sha256 else Defect(source.sha256, CHANGED, source.path)


def require_whole(findings: list[Defect]) -> None:
    """Raise an error if there are findings.

    Raises:
        Damaged: Something has changed: the chain is broken there.
        ArtifactError: Something is missing, and nothing has changed.
    """
    for state, kind, predicate in (
        (CHANGED, Damaged, "was changed after registration"),
        (GONE, ArtifactError, "was deleted after registration"),
    ):
        places = [finding.where for finding in findings if finding.state == state]
        if places:
            raise kind(
                f"A file in the version's lineage {predicate}", where=places[0],
                value=f"{len(places)} files" if len(places) > 1 else None,
                remedy="`reviewlm version reproduce VERSION` rebuilds it from the raw files and compares both",
            )
