"""Summarise the quarantine by reason, and export its records for correction by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from core.config.sections.source import SourceConfig
from core.errors import ConfigError, EmptyInput
from core.output import output_file
from core.store import Artifact, Store
from corpus.ingestion.parts import iter_quarantine
from corpus.reading.sources import Listed, Source, all_sources, identify
from corpus.schema import NOT_TO_CORRECT

SHOWN = 80
"""Number of characters shown of an example's raw bytes."""


def data_set_of(store: Store, source: SourceConfig, digest: str = "") -> Artifact:
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
    default = store.find("ingest", digest) if digest else None
    identity = _identity(_listed(default)) if default else _identity(_sources(store, source))
    for dataset in store.all("ingest") if identity else ():
        if _identity(_listed(dataset)) == identity:
            return store.open(dataset.stage, dataset.digest)
    raise EmptyInput(
        "These data have not been ingested yet", where=store.root,
        value=", ".join(source.input) or "the embedded corpus",
        remedy="run `reviewlm data ingest` with the same --preset, --input and --set first; if it ends with an error, "
        "the error says why",
    )


def only_data_set(store: Store) -> Artifact:
    """Return the only data set of a store, for calls that do not name one.

    Raises:
        EmptyInput: There is no data set.
        ConfigError: There are several data sets.
        Damaged: The data set differs from what was written.
    """
    data_sets = list(store.all("ingest"))
    if not data_sets:
        raise EmptyInput("Nothing has been ingested yet", where=store.root, remedy="run `reviewlm data ingest` first")
    if len(data_sets) > 1:
        names = [", ".join(entry["name"] for entry in one.facts["sources"][:3]) for one in data_sets]
        raise ConfigError(
            "It is not clear which data set to use", where="--input", value="; ".join(dict.fromkeys(names)),
            cause=f"{len(data_sets)} data sets have been ingested, and no champion gives a default",
            remedy="name its files: --input FILES, or --preset demo for the embedded corpus",
        )
    return store.open("ingest", data_sets[0].digest)


def _listed(dataset: Artifact) -> list[Listed]:
    return [Listed(entry["name"], entry["bytes"], entry["sha256"]) for entry in dataset.facts["sources"]]


def _identity(sources: Sequence[Listed]) -> list[tuple[str, str]]:
    return sorted((source.name, source.sha256) for source in sources)


def _sources(store: Store, source: SourceConfig) -> list[Source]:
    """Return the source files in their present state, with their SHA-256."""
    memory = store.root / ".files"
    if source.input:
        return all_sources(source.input, memory)
    options = source.synthetic.model_dump(mode="json")
    made = (one for one in store.all("synthesise") if one.manifest["options"] == options)
    return [identify(path, path.name, memory) for one in made for path in one.folder.glob("*.jsonl")]


def summarise(path: Path) -> list[dict[str, Any]]:
    """Return a row per reason, the most common first: its records, and source, line, detail and bytes of the first."""
    first = [pl.col(name).first() for name in ("source", "line", "detail", "raw")]
    rows = pl.scan_parquet(path).group_by("reason", maintain_order=True).agg(pl.len().alias("records"), *first)
    ordered = rows.sort("records", "reason", descending=[True, False]).collect()
    return [{**row, "raw": _shown(row["raw"])} for row in ordered.iter_rows(named=True)]


def _shown(raw: bytes) -> str:
    text = " ".join(raw.decode("utf-8", "replace").split())
    return text if len(text) <= SHOWN else text[: SHOWN - 2] + " …"


def export(path: Path, out: Path, reason: str | None = None) -> dict[str, Any]:
    """Write quarantined records as JSON lines that can be corrected and then read like any other file.

    A record that is a JSON object keeps its fields; of any other, `raw` is its text, and its fields are to be written
    beside it. `quarantined` says where it stood and why it was set aside. Readers ignore both, so a record that is not
    corrected is set aside again. Bytes that are not UTF-8 appear as lone surrogates (`\\udce9` for E9), as in Python's
    "surrogateescape", so that no byte is lost.

    Args:
        path: The quarantine file.
        out: The file to write; it appears when it is complete.
        reason: Only records with this reason. None: all that can be corrected, so no repeated ids and no files.

    Returns:
        records and out.

    Raises:
        EmptyInput: There are no such records.
    """
    records = 0
    with output_file(out) as file:
        for bad in iter_quarantine(path):
            chosen = pl.col("reason") == reason if reason else ~pl.col("reason").is_in(NOT_TO_CORRECT)
            for record in bad.filter(chosen).iter_rows(named=True):
                file.write(json.dumps(_to_correct(**record)).encode() + b"\n")
                records += 1
        if not records:
            raise _nothing_to_export(path, reason)
    return {"records": records, "out": str(out)}


def _to_correct(source: str, line: int, reason: str, detail: str, raw: bytes) -> dict[str, Any]:
    text = raw.decode("utf-8", "surrogateescape")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    fields = fields if isinstance(fields, dict) else {"raw": text.rstrip("\r\n")}
    return {**fields, "quarantined": f"{source}, line {line}: {reason} ({detail})"}


def _nothing_to_export(path: Path, reason: str | None) -> EmptyInput:
    counts = {row["reason"]: row["records"] for row in summarise(path)}
    there = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "it is empty"
    what = f"with the reason {reason!r}" if reason else "that could be corrected"
    return EmptyInput(f"The quarantine holds no record {what}", where=path, value=there)
