"""Damage files that the pipeline stored or a user corrected: manifests of the store, quarantined records."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from benchmarks.fuzz.mutations import damaged, damaged_json
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.manifest import CHECKSUM
from reviewlm.core.store import MANIFEST, Store
from reviewlm.corpus.ingestion.ingest import read_source
from reviewlm.corpus.ingestion.parts import SourceReading
from reviewlm.corpus.reading.sources import Source, identify

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
        return {
            "records": 3,
            "perplexity": float("inf"),
            "names": ["a", "b"],
        }

    artifact = store.build(
        "fit",
        "1",
        {"order": 3},
        {"data": "abc"},
        make,
    ).artifact
    path = artifact.folder / MANIFEST
    content = path.read_bytes()
    # As in earlier versions: with a checksum, damage to the values would be detected first.
    if rng.random() < 0.7:
        content = json.dumps(
            {name: value for name, value in json.loads(content).items() if name != CHECKSUM}
        ).encode()

    path.write_bytes(
        damaged_json(rng, json.loads(content)) if rng.random() < 0.8 else damaged(rng, content)
    )


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
