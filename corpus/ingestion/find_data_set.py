"""Find the data set, or the quarantine, that belongs to some sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import EmptyInput
from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.ingestion.parts import QUARANTINE_FILE
from reviewlm.corpus.reading.sources import Listed, Source, all_sources, identify


def data_set_of(
    store: Store,
    source: SourceConfig,
    digest: str = "",
) -> Artifact:
    """Return the newest data set of these sources; several exist after a change of settings.

    Args:
        store: The store with all artifacts.
        source: Files, or the embedded corpus.
        digest: Digest of a data set of the same sources, if one is known.

    Raises:
        EmptyInput: The sources have not been ingested yet.
        Unreadable: A file does not exist.
        Damaged: The data set differs from what was written.
    """
    default = None
    if digest:
        default = store.find("ingest", digest)

    if default:
        identity = _identity(_list_sources(default))
    else:
        identity = _identity(_sources(store, source))

    for dataset in store.all("ingest") if identity else ():
        if _identity(_list_sources(dataset)) == identity:
            return store.open(dataset.stage, dataset.digest)

    raise EmptyInput(
        "These data have not been ingested yet",
        where=store.root,
        value=", ".join(source.input) or "the embedded corpus",
        remedy="run `reviewlm data ingest` with the same --preset, --input and --set first; if it ends with an error, "
        "the error says why",
    )


def quarantine_files(
    store: Store,
    source: SourceConfig,
    digest: str = "",
) -> list[Path]:
    """Return the quarantine of the newest data set of these sources; without one, those of their readings.

    So the records are found also if none of them was good. Arguments and errors as of `data_set_of`.
    """
    try:
        return [data_set_of(store, source, digest).folder / QUARANTINE_FILE]
    except EmptyInput:
        newest: dict[str, str] = {}
        for reading in store.all("read"):
            newest.setdefault(reading.manifest["inputs"]["file"], reading.digest)

        readings = dict.fromkeys(newest.get(one.sha256, "") for one in _sources(store, source))
        if not all(readings) or not readings:
            raise
        return [store.open("read", digest).folder / QUARANTINE_FILE for digest in readings]


def newest_data_set(store: Store) -> Artifact:
    """Return the data set that was built last, for calls that do not name one.

    Raises:
        EmptyInput: There is no data set.
        Damaged: The data set differs from what was written.
    """
    dataset = store.newest("ingest")
    if dataset is None:
        raise EmptyInput(
            "Nothing has been ingested yet",
            where=store.root,
            remedy="run `reviewlm data ingest` first",
        )
    return dataset


def _list_sources(dataset: Artifact) -> list[Listed]:
    return [
        Listed(entry["name"], entry["bytes"], entry["sha256"]) for entry in dataset.facts["sources"]
    ]


def _identity(sources: Sequence[Listed]) -> list[tuple[str, str]]:
    return sorted((source.name, source.sha256) for source in sources)


def _sources(store: Store, source: SourceConfig) -> list[Source]:
    """Return the source files in their present state, with their SHA-256."""
    memory = store.root / ".files"
    if source.input:
        return all_sources(source.input, memory, source.skip_missing)
    options = source.synthetic.model_dump(mode="json")
    sources = []
    for artifact in store.all("synthesise"):
        if artifact.manifest["options"] == options:
            for path in artifact.folder.glob("*.jsonl"):
                sources.append(identify(path, path.name, memory))

    return sources
