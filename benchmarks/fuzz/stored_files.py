"""Damage files that the pipeline stored or a user corrected: manifests of the store, quarantined records."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from benchmarks.fuzz.mutations import damaged, damaged_json
from core.config.sections.source import SourceConfig
from core.manifest import CHECKSUM
from core.store import MANIFEST, Store
from corpus.ingestion.ingest import limits_of, read_source
from corpus.ingestion.parts import SourceReading
from corpus.ingestion.quarantine import export
from corpus.ingestion.replay import assemble_with, replay, replays_of
from corpus.reading.sources import Source, identify

BAD = b"\n".join(
    [
        b'{"review_id": "a", "text": "good", "stars": 5}',
        b'{"review_id": "b", "text": "bad", "stars": "many"}',
        b'{"review_id": "c", "text": null}',
        b'{"review_id": "d", "text": "cut',
        b'{"text": "caf\xe9"}',
        b'{"review_id": "e", "text": "fine"}',
    ]
)
"""Two good records and four bad ones."""


def make_manifest(rng: Random, case: Path) -> None:
    """Write an artifact with a damaged manifest."""
    store = Store(case / "store")

    def make(work: Path) -> dict[str, object]:
        (work / "data.bin").write_bytes(b"content")
        (work / "inside").mkdir()
        (work / "inside" / "more.txt").write_text("more")
        return {"records": 3, "perplexity": float("inf"), "names": ["a", "b"]}

    artifact = store.build("fit", "1", {"order": 3}, {"data": "abc"}, make).artifact
    path = artifact.folder / MANIFEST
    content = path.read_bytes()
    if rng.random() < 0.7:  # as in earlier versions: with a checksum, damage to the values would be detected first
        content = json.dumps({name: value for name, value in json.loads(content).items() if name != CHECKSUM}).encode()
    path.write_bytes(damaged_json(rng, json.loads(content)) if rng.random() < 0.8 else damaged(rng, content))


def check_manifest(case: Path, work: Path) -> str:
    """Find, open and verify the artifact in every way that the store offers."""
    store = Store(case / "store")
    [folder] = (case / "store" / "fit").iterdir()
    found = list(store.all("fit"))
    artifact = store.open("fit", folder.name)
    store.verify(artifact)
    return f"{len(found)} {sorted(map(str, artifact.facts))}"


def _reading(folder: Path) -> tuple[Source, SourceReading]:
    folder.mkdir(parents=True)
    (folder / "r.jsonl").write_bytes(BAD)
    source = identify(folder / "r.jsonl", "r.jsonl")
    return source, read_source(source, folder / "reading", SourceConfig())


def make_replay(rng: Random, case: Path) -> None:
    """Write quarantined records as a user might correct and return them."""
    _, reading = _reading(case / "made")
    export(reading.quarantine, case / "fixed.jsonl")
    lines = (case / "fixed.jsonl").read_bytes().splitlines()
    for place, line in enumerate(lines):
        record = json.loads(line)
        if rng.random() < 0.5:
            record["raw"] = rng.choice(
                ['{"review_id": "z", "text": "mended"}', {"text": "mended"}, "not JSON", "a,b,c\n", "\0\0\0\0", "\0a"]
            )
            lines[place] = json.dumps(record).encode()
        if rng.random() < 0.15:
            lines[place] = damaged_json(rng, record)
    content = b"\n".join(lines)
    (case / "fixed.jsonl").write_bytes(damaged(rng, content) if rng.random() < 0.1 else content)


def check_replay(case: Path, work: Path) -> str:
    """Replay the records; each must be accepted or stay in quarantine, and the data set must account for all."""
    source, reading = _reading(work / "made")
    facts = replay(
        [source],
        {source.sha256: reading},
        work / "replays",
        limits_of(SourceConfig()),
        case / "fixed.jsonl",
        {source.sha256: source.path},
    )
    assert facts["replayed"] + facts["left"] == 4, facts
    (work / "set").mkdir()
    replays = {source.sha256: replays_of(work / "replays", reading)}
    made = assemble_with(work / "set", [source], {source.sha256: reading}, replays)
    assert made["records"] == made["rows"] + made["quarantined"] + made["duplicates"] == 6, made
    return str(made["content_sha256"])
