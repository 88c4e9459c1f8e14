"""Registered versions of long ago with stand-ins of their files, judged by the gate."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.lineage import LINEAGE_FILE, Lineage
from reviewlm.tasks.records.track import parent_run, tracker_of
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.registry.versions import PROMOTED, REFUSED
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import FIT_TAG, OUTCOME

FILES = ["spec.json", "vocabulary.json", "net/weights.safetensors"]
RECORD = Lineage(
    "model",
    "ngram",
    "bundle",
    "fit/0123",
    {},
    (),
    (),
)


def registry(config: RunConfig) -> Registry:
    return Registry(tracker_of(config.workspace), config.promotion.model_name)


def logged_model(tracker: Tracker, run_id: str) -> tuple[str, Path]:
    """Log a model; return its id and the folder of its bundle."""
    with tracker.reaching() as client:
        model = client.create_logged_model(
            client.get_run(run_id).info.experiment_id, "model", run_id
        )
    bundle = (
        tracker.artifact_root / "models" / model.model_id / "artifacts" / "artifacts" / "bundle"
    )
    for name in FILES:
        (bundle / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / name).write_text(f"{name} of {model.model_id}")
    (bundle.parent.parent / LINEAGE_FILE).write_text(RECORD.to_json())
    with tracker.reaching() as client:
        client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id), bundle


def judged(
    config: RunConfig,
    *outcomes: bool | None,
    fit: str = "",
    tags: Mapping[str, str] | None = None,
) -> list[Path]:
    """Register one version per outcome of the gate (None: not judged); return the folders of their bundles."""
    tracker, found = tracker_of(config.workspace), registry(config)
    for promote in outcomes:
        run_id = tracker.start_run("a fit", {FIT_TAG: fit} if fit else {})
        number = found.register(
            f"models:/{logged_model(tracker, run_id)[0]}", run_id, dict(tags or {})
        )
        champion = found.alias("champion")
        outcome = {OUTCOME: PROMOTED if promote else REFUSED}
        if promote is not None:
            found.settle(
                number,
                champion.version if champion else None,
                promote,
                "why",
                outcome,
            )
        tracker.end_run(run_id)
    with (
        closing(sqlite3.connect(config.home / "mlflow.db")) as database,
        database,
    ):  # as if it had been long ago
        database.execute("UPDATE runs SET start_time = 1000")
        database.execute("UPDATE logged_models SET creation_timestamp_ms = 1000")
    with parent_run(config, "retrain"):
        pass
    return [found.bundle_folder(version) for version in reversed(found.versions())]
