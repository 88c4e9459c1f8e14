"""Is everything that a version was made of still there, and still what it was? All bytes are hashed again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import ArtifactError, Damaged
from core.lineage.record import LINEAGE_TAG, Lineage, Source
from core.store import MANIFEST, differing_files, sha256_of_file

SPEC, BUNDLE = "spec.json", "bundle/"
GONE, CHANGED = "gone", "changed"


@dataclass(frozen=True)
class Finding:
    """Something that is not what it was.

    Args:
        key: Of the step or the hash of the source; "bundle" or "record" of the version itself.
        state: "gone" or "changed".
        where: The file or folder.
    """

    key: str
    state: str
    where: str


def present(lineage: Lineage, store: Path) -> list[Finding]:
    """Return what the store does not have any more; nothing is hashed."""
    steps = [(step.key, store / step.key) for step in lineage.steps]
    return [Finding(key, GONE, str(folder)) for key, folder in steps if not (folder / MANIFEST).is_file()]


def verify(lineage: Lineage, store: Path, bundle: Path, root: str = "") -> list[Finding]:
    """Hash everything again: the record, the bundle of the version, every step's files, and the sources.

    Args:
        lineage: The record.
        store: Folder of the artifacts.
        bundle: Folder of the version's bundle.
        root: What the version's tag says, "" where it has none.
    """
    found = [Finding("record", CHANGED, f"tag {LINEAGE_TAG}")] if root and root != lineage.root else []
    found += _bundle(lineage, bundle)
    missing = present(lineage, store)
    gone = {finding.key for finding in missing}
    for step in lineage.steps:
        if step.key not in gone:
            states = differing_files(store / step.key, step.files)
            found += [Finding(step.key, state, str(store / step.key / name)) for name, state in states.items()]
    return [*found, *missing, *(finding for source in lineage.sources if (finding := _source(source)))]


def _bundle(lineage: Lineage, bundle: Path) -> list[Finding]:
    files = {
        name.removeprefix(BUNDLE): entry
        for name, entry in lineage.step(lineage.fit).files.items()
        if name.startswith(BUNDLE)
    }
    states = differing_files(bundle, files)
    found = [Finding("bundle", state, str(bundle / name)) for name, state in states.items()]
    if not found and sha256_of_file(bundle / SPEC) != lineage.bundle:
        found.append(Finding("bundle", CHANGED, str(bundle / SPEC)))
    return found


def _source(source: Source) -> Finding | None:
    """Return what became of a raw file; a source without a path is an artifact's or the version's own file."""
    if not source.path:
        return None
    path = Path(source.path)
    if not path.is_file():
        return Finding(source.sha256, GONE, source.path)
    return None if sha256_of_file(path) == source.sha256 else Finding(source.sha256, CHANGED, source.path)


def require_whole(findings: list[Finding]) -> None:
    """Raise where something was found.

    Raises:
        Damaged: Something has changed: the chain is broken there.
        ArtifactError: Something is gone, and nothing has changed.
    """
    for state, kind, said in (
        (CHANGED, Damaged, "has changed since the version was registered"),
        (GONE, ArtifactError, "is gone since the version was registered"),
    ):
        places = [finding.where for finding in findings if finding.state == state]
        if places:
            raise kind(
                f"What the version was made of {said}", where=places[0],
                value=f"{len(places)} in all" if len(places) > 1 else None,
                remedy="`reviewlm reproduce` makes the version again, from the raw files, and compares",
            )
