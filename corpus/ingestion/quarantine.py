"""Look at files before a run, set unreadable ones aside, read labels from fields, and show the quarantine.

The first records of every input are read before a run starts, so that an unusable file costs seconds. A file that
cannot be read to its end is set aside, so that one damaged file does not end the reading of all others. Its reading has
no parts, and one record in quarantine with the reason "unreadable_file". It is stored like any other, so the file is
read again only if its bytes, the settings or the readers change. A limit keeps a wrong mount, or a broken export, from
making the data small without anybody noticing.

For a field that classifiers predict, the reviews are not stored again, so another field leaves all other results as
they are.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast

import polars as pl

from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import (
    ConfigError,
    EmptyInput,
    MissingColumn,
    Unreadable,
    disk_errors,
    visible,
)
from reviewlm.core.output import output_file
from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.ingestion.build_dataset import no_records
from reviewlm.corpus.ingestion.ingest import describe_reading, limits_of
from reviewlm.corpus.ingestion.parts import (
    PARTS,
    QUARANTINE_FILE,
    SET_ASIDE,
    QuarantineWriter,
    SourceReading,
    iter_quarantine,
)
from reviewlm.corpus.reading.readers import Progress, read
from reviewlm.corpus.reading.sources import Listed, Source, all_sources, identify, source_names
from reviewlm.corpus.schema import LABEL, NOT_TO_CORRECT, QUARANTINE, Block, Limits, Reason

WHY = ("what", "cause", "value", "remedy")
"""Parts of the fact `SET_ASIDE`: those of the error."""
PLACE = ["source", "line"]
SOURCE = pl.col("source").cast(pl.Categorical)
"""Many reviews have the same source, which is kept once this way."""
MOST_BYTES = 32 << 20
MOST_FILES = 200
"""Bytes on disk, and files, after which the remaining files are left to the run."""
SHOWN = 80
"""Number of characters shown of an example's raw bytes."""


@dataclass(frozen=True)
class Refused:
    """A file that cannot be read, and the error that says why."""

    file: Listed
    error: Unreadable


def require_same_bytes(source: Source) -> None:
    """Check that an error comes from the content of a file, not from its disk or from a program that writes it.

    Raises:
        Unreadable: The file has changed or cannot be read now; it may be whole the next time.
    """
    source.require_unchanged()
    if identify(source.path, source.name).sha256 != source.sha256:
        raise Unreadable(
            "The file gives other bytes each time it is read",
            where=source.path,
            remedy="check its disk or its server",
        )


def why_of(error: Unreadable) -> dict[str, Any]:
    """Return the fact `SET_ASIDE` of a file from its error."""
    value = None
    if error.value is not None:
        value = visible(str(error.value))

    return {
        "what": error.what,
        "cause": visible(error.cause),
        "value": value,
        "remedy": error.remedy,
    }


def set_aside(
    source: Listed, folder: Path, config: SourceConfig, why: Mapping[str, Any]
) -> SourceReading:
    """Replace what was read of a file in `folder` by a reading without parts that says why; return it.

    Raises:
        StoreFull, NotWritable: The disk is full or not writable.
    """
    row = {
        "source": [source.name],
        "line": [0],
        "reason": [Reason.UNREADABLE_FILE.value],
        "detail": [sentence(why)],
        "raw": [b""],
    }
    with disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / PARTS).mkdir(parents=True)
        with QuarantineWriter(folder / QUARANTINE_FILE) as quarantine:
            quarantine.add(pl.DataFrame(row, schema=QUARANTINE))
        details = {Reason.UNREADABLE_FILE.value: sentence(why)}
        more: Any = {SET_ASIDE: {name: why[name] for name in WHY}}  # in their order
        return describe_reading(
            folder,
            source,
            config,
            [],
            Counter(details.keys()),
            details=details,
            **more,
        )


def sentence(why: Mapping[str, Any]) -> str:
    """Return the fact `SET_ASIDE` of a reading in words."""
    if why["cause"]:
        return f"{why['what']} ({why['cause']})"
    return str(why["what"])


def error_of(why: Mapping[str, Any], path: str | Path) -> Unreadable:
    """Return the error of a file from the fact `SET_ASIDE` of its reading."""
    return Unreadable(
        why["what"], where=path, value=why["value"], cause=why["cause"], remedy=why["remedy"]
    )


def require_few(refused: Sequence[Refused], files: int, size: int, limit: float) -> None:
    """Refuse a run of whose files too many cannot be read.

    Args:
        refused: Those that cannot be read.
        files, size: Number and bytes of all files, each content once.
        limit: Largest share of the files, and of their bytes, that may be set aside.

    Raises:
        Unreadable: More than that, or all of them; of a single file, its own error.
    """
    if not refused:
        return

    first = refused[0]
    if len(refused) == files:
        raise first.error

    count = len(refused) / files
    share = sum(one.file.bytes for one in refused) / max(1, size)
    if max(count, share) > limit:
        raise Unreadable(
            f"{len(refused)} of {files} files cannot be read, with {share:.0%} of the bytes",
            where=first.error.where,
            value=first.error.value,
            cause=f"{first.file.name}: {first.error.cause or first.error.what}",
            remedy="mend or remove these files; if the others are enough, raise the limit: source.max_unreadable (now "
            f"{limit:g})",
        ) from first.error


def refused_in_pack(reading: SourceReading) -> list[Refused]:
    """Return the small files of a pack that were set aside, each with an error that says why."""
    if Reason.UNREADABLE_FILE.value not in reading.facts["reasons"]:
        return []

    bad = pl.read_parquet(reading.quarantine).filter(
        pl.col("reason") == Reason.UNREADABLE_FILE.value
    )
    return [
        Refused(
            Listed(row["source"], len(row["raw"]), ""),
            Unreadable(row["detail"], where=row["source"]),
        )
        for row in bad.iter_rows(named=True)
    ]


def limits_with_label(config: SourceConfig, field: str) -> Limits:
    """Return the limits for readers that also read a field of the files as `LABEL`."""
    limits = limits_of(config)
    return replace(limits, renamed={**limits.renamed, LABEL: field})


def read_labels(
    sources: Sequence[Source],
    parts: Iterator[pl.DataFrame],
    config: SourceConfig,
    field: str,
    report: Callable[[int], None] | None = None,
) -> pl.DataFrame:
    """Return the columns review_id and label of the reviews of a data set that have one, sorted by review_id.

    A review is found again by its place (`source` and `line`), because records may have no id or share one.

    Args:
        sources: The files of the data set, each once; their names are the `source` of their records.
        parts: The data set's reviews.
        config: Names of the other fields, and limits, as they were when the reviews were read.
        report: Called with the bytes read so far.

    Raises:
        MissingColumn: A table does not have the field, or no record has it.
        Unreadable: A file is damaged, or it does not hold the reviews that were read from it.
    """
    limits = limits_with_label(config, field)
    progress = Progress()
    schema = {
        "source": pl.Categorical(),
        "line": pl.Int64(),
        "content": pl.UInt64(),
        "label": pl.String(),
    }
    frames = [pl.DataFrame(schema=schema)]
    for source in sources:
        for block in read(source.path, source.name, limits, progress):
            frames.append(
                block.good.select(
                    SOURCE, "line", pl.col("text").hash().alias("content"), label=LABEL
                )
            )
            if report:
                report(progress.bytes_done)
        source.require_unchanged()

    labels = pl.concat(frames)
    if not labels["label"].count():
        raise MissingColumn(
            f"There is no field {field!r}",
            where=", ".join(source.name for source in sources)[:200],
            cause="no record has it, or it is empty everywhere",
            remedy="name another: --set classification.label=NAME",
        )

    tables = [pl.DataFrame(schema={"review_id": pl.String(), "label": pl.String()})]
    for part in parts:
        here = part.select("review_id", SOURCE, "line", pl.col("text").hash().alias("then"))
        joined = here.join(labels, on=PLACE, how="left", maintain_order="left")
        _require_same(joined)
        tables.append(joined.drop_nulls("label").select("review_id", "label"))

    return pl.concat(tables).sort("review_id")


def _require_same(joined: pl.DataFrame) -> None:
    """Refuse a place at which another text stands than when the reviews were read."""
    other = joined.filter(pl.col("content").ne_missing(pl.col("then")))
    if other.height:
        source = other.row(0, named=True)["source"]
        line = other["line"][0]
        raise Unreadable(
            "The file does not hold the reviews that were read from it",
            where=f"{source}, line {line}",
            cause="another version of this program numbers its records in another way",
            remedy="read the reviews again: `reviewlm data ingest --rebuild read`",
        )


def require_usable(inputs: Sequence[Path | str], config: SourceConfig, label: str = "") -> None:
    """Read the first records of each file with the readers of a run, and raise what the run would raise.

    Whether any record is good is left to the run.

    Args:
        inputs: Files, folders or globs.
        config: Limits, and names of the fields.
        label: Name of a field with labels, which every file must have then.

    Raises:
        EmptyInput: An archive or a folder holds no reviews, or there are no records.
        Unreadable: An input is missing; or more inputs than `source.max_unreadable` allows, or all, are damaged at
            their beginning or in an unknown format.
        MissingColumn: A file has no text, or not the field with the labels; or none has a field under the name that
            the user gave.
    """
    if label:
        limits = limits_with_label(config, label)
    else:
        limits = limits_of(config)

    limits = replace(limits, workers=1, named=set())  # one block at a time is enough
    names = source_names(inputs, config.skip_missing)
    files = [(path, Listed(name, path.stat().st_size, "")) for path, name in names.items()]
    some = False
    taken = 0
    looked = 0
    damaged = list[Refused]()
    for path, file in files[:MOST_FILES]:
        looked += 1
        progress = Progress()
        try:
            with closing(cast(Generator[Block], read(path, file.name, limits, progress))) as blocks:
                some = any(block.records for block in blocks) or some
                taken += progress.bytes_done
        except Unreadable as error:
            damaged.append(Refused(file, error))
        if taken >= MOST_BYTES:
            break

    require_few(damaged, len(files), sum(file.bytes for _, file in files), config.max_unreadable)
    misspelt = [ours for ours in config.renamed_fields if ours not in limits.named]
    if misspelt and not damaged and looked == len(files):
        raise MissingColumn(
            f"No file has a field '{config.renamed_fields[misspelt[0]]}'",
            where=f"source.fields.{misspelt[0]}",
            remedy=f"--set source.fields.{misspelt[0]}=NAME; if these files use our name, NAME is {misspelt[0]}",
        )
    if not some and not damaged and taken < MOST_BYTES and len(files) <= MOST_FILES:
        raise no_records(file for _, file in files)


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


def quarantine_files(store: Store, source: SourceConfig, digest: str = "") -> list[Path]:
    """Return the quarantine of the newest data set of these sources; without one, those of their readings.

    So the records are found also if none of them was good. Arguments and errors as of `data_set_of`.
    """
    try:
        return [data_set_of(store, source, digest).folder / QUARANTINE_FILE]
    except EmptyInput:
        newest = {
            one.manifest["inputs"]["file"]: one.digest for one in reversed(list(store.all("read")))
        }
        readings = dict.fromkeys(newest.get(one.sha256, "") for one in _sources(store, source))
        if not all(readings) or not readings:
            raise
        return [store.open("read", reading).folder / QUARANTINE_FILE for reading in readings]


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
    made = (one for one in store.all("synthesise") if one.manifest["options"] == options)
    return [
        identify(path, path.name, memory) for one in made for path in one.folder.glob("*.jsonl")
    ]


def summarise(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return a row per reason, the most common first: its records, and source, line, detail and bytes of the first."""
    first = [pl.col(name).first() for name in ("source", "line", "detail", "raw")]
    rows = (
        pl.scan_parquet(list(paths))
        .group_by("reason", maintain_order=True)
        .agg(pl.len().alias("records"), *first)
    )
    ordered = rows.sort("records", "reason", descending=[True, False]).collect()
    return [{**row, "raw": _excerpt(row["raw"])} for row in ordered.iter_rows(named=True)]


def _excerpt(raw: bytes) -> str:
    text = " ".join(raw.decode("utf-8", "replace").split())
    if len(text) <= SHOWN:
        return text
    return text[: SHOWN - 2] + " …"


def export(paths: Sequence[Path], out: Path, reason: str | None = None) -> dict[str, Any]:
    """Write quarantined records as JSON lines that can be corrected and then read like any other file.

    A record that is a JSON object keeps its fields; of any other, `raw` is its text, and its fields are to be written
    beside it. `quarantined` says where it stood and why it was set aside. Readers ignore both, so a record that is not
    corrected is set aside again. Bytes that are not UTF-8 appear as lone surrogates (`\\udce9` for E9), as in Python's
    "surrogateescape", so that no byte is lost.

    Args:
        paths: The quarantine files.
        out: The file to write; it appears when it is complete.
        reason: Only records with this reason. None: all that can be corrected, so no repeated ids and no files.

    Returns:
        records and out; without such records the file is empty.

    Raises:
        ConfigError: There is no such reason.
    """
    if reason not in (None, *Reason):
        known = ", ".join(Reason)
        raise ConfigError(
            "There is no such reason", where="--reason", value=reason, remedy=f"one of {known}"
        )

    records = 0
    with output_file(out) as file:
        for bad in chain.from_iterable(map(iter_quarantine, paths)):
            if reason:
                chosen = pl.col("reason") == reason
            else:
                chosen = ~pl.col("reason").is_in(NOT_TO_CORRECT)

            for record in bad.filter(chosen).iter_rows(named=True):
                file.write(json.dumps(_to_correct(**record)).encode() + b"\n")
                records += 1

    return {"records": records, "out": str(out)}


def _to_correct(source: str, line: int, reason: str, detail: str, raw: bytes) -> dict[str, Any]:
    text = raw.decode("utf-8", "surrogateescape")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        fields = {"raw": text.rstrip("\r\n")}

    return {**fields, "quarantined": f"{source}, line {line}: {reason} ({detail})"}
