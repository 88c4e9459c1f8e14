"""A registry as MLflow's database has it, and versions with their records, made in no time and without MLflow."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.lineage import LINEAGE_FILE, Lineage, RecordedSource, Step

TABLES = """
    CREATE TABLE IF NOT EXISTS experiments (experiment_id INTEGER);
    CREATE TABLE IF NOT EXISTS model_versions (workspace, name, version INTEGER, run_id, creation_time, description,
                                               storage_location, source, current_stage DEFAULT 'None');
    CREATE TABLE IF NOT EXISTS registered_model_aliases (workspace, name, version INTEGER, alias);
    CREATE TABLE IF NOT EXISTS model_version_tags (name, version INTEGER, key, value);
"""


def step(stage: str, digest: str) -> Step:
    """Return a step that tells nothing but its stage and its digest."""
    return Step(
        stage,
        digest,
        1,
        {},
        {},
        {},
        {},
    )


def register(
    home: Path,
    config: RunConfig,
    number: int,
    aliases: Sequence[str] = (),
    files: Sequence[Path] = (),
    name: str = "reviewlm",
    recorded: bool = True,
    folder: str = "",
) -> Path:
    """Register a version that was made with a configuration, and return the folder of its logged model's files."""
    artifacts = home / "mlartifacts" / "models" / f"m-{name}-{number}" / "artifacts"
    (artifacts / "artifacts" / "bundle").mkdir(parents=True)
    (artifacts / "artifacts" / "bundle" / "spec.json").write_text(json.dumps({"kind": "ngram"}))
    if recorded:
        sources = tuple(
            RecordedSource(
                "file",
                file.name,
                f"{number}" * 64,
                1,
                str(file),
            )
            for file in files
        )
        steps = (
            step("ingest", f"data-{number}"),
            step("prepare", f"clean-{number}"),
            step("fit", f"fit-{number}"),
        )
        record = Lineage(
            "kn5",
            "ngram",
            "b",
            f"fit/fit-{number}",
            config.model_dump(mode="json"),
            sources,
            steps,
            folder,
        )
        (artifacts / LINEAGE_FILE).write_text(record.to_json())
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.executescript(TABLES)
        row = (
            "default",
            name,
            number,
            "run",
            1000 * number,
            "",
            str(artifacts),
            str(artifacts),
            "None",
        )
        database.execute("INSERT INTO model_versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        for alias in aliases:
            database.execute(
                "INSERT INTO registered_model_aliases VALUES ('default', ?, ?, ?)",
                (name, number, alias),
            )
    return artifacts
