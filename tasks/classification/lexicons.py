"""Read the lexicons that classifiers count words of: one artifact for each file, identified by its SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from core.model_errors import converted_errors
from core.store import Artifact
from corpus.reading.sources import identify
from models.classification.features.lexicons import load_lexicons, read_lexicon, save_lexicons
from tasks.stage import run_stage, show_facts, store_of

STAGE = "lexicon"
INPUT = "lexicon "
"""Beginning of the name of a lexicon among the inputs of a fit."""
FILE = "lexicon.json"


def lexicons_of(config: RunConfig, spec: Any) -> dict[str, Artifact]:
    """Return the artifact of each lexicon of a classifier, by name; empty for one without.

    Raises:
        Unreadable: A file cannot be read, or changed while it was read.
        InputError: A line of it is not an entry; the message names the line.
    """
    return {name: read(config, name, Path(config.lexicons[name])) for name in getattr(spec, "lexicons", ())}


def read(config: RunConfig, name: str, path: Path) -> Artifact:
    """Return the artifact with the entries of one file; errors as in `lexicons_of`."""
    source = identify(path, name, store_of(config).root / ".files")

    def make(work: Path) -> dict[str, Any]:
        with converted_errors(path):
            lexicon = read_lexicon(source.path)
        source.require_unchanged()
        save_lexicons(work / FILE, {"": lexicon})
        return {"name": name, "path": str(source.path.absolute()), "entries": len(lexicon)}

    built = run_stage(config, STAGE, {}, {"file": source.sha256}, make, name, raw_bytes=source.bytes)
    show_facts(f"lexicon-{name}", built.artifact, built.reused)
    return built.artifact


def entries(folder: Path) -> dict[str, float]:
    """Return the entries of a lexicon's artifact, with their weights."""
    return dict(load_lexicons(folder / FILE)[""])
