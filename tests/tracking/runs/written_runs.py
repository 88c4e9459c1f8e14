"""Two runs with all that a flow writes, and all that MLflow holds of them afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.tracking.logged_models.bundles import log_bundle
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import KEY, stored_name


def write_runs(tracker: Tracker, pieces: Path) -> None:
    """Write a parent run and a child with all that a fit has."""
    parent = tracker.start_run("retrain")
    child = tracker.start_run("kn5", {"reviewlm.fit": "d1"}, parent)
    tracker.set_tags(parent, {"reviewlm.child.kn5": child})
    tracker.log_params(child, {"order": 5, "many": {f"p{number}": number for number in range(120)}})
    pl.DataFrame({"a": [1]}).write_parquet(pieces / "a.parquet")
    tracker.log_datasets(child, [(pieces / "a.parquet", "word-test", "ab" * 16, "test")])
    tracker.log_journal(child, pieces / "metrics.jsonl")
    log_bundle(tracker, child, pieces / "bundle", package=pieces / "models")
    tracker.log_metrics(
        child, {"test/perplexity": 12.5, "hit@1": 0.25}, dataset=("word-test", "ab" * 16)
    )
    tracker.log_metrics(child, {"test/perplexity": 12.5})
    tracker.log_table(child, pl.DataFrame({"text": ["é"], "stars": [5]}), "tables/samples.json")
    tracker.log_text(child, "why", "note.md")
    tracker.log_folder(child, pieces / "docs", "docs")
    tracker.end_run(child)
    tracker.end_run(parent)


def state(tracker: Tracker, kept: Path) -> dict[str, Any]:
    """Return all that MLflow holds, with names in place of ids, and without times; its files lie below *kept*."""
    client = getattr(tracker.client, "client", tracker.client)
    runs = client.search_runs([tracker.experiment_id])
    models = {
        model.model_id: model for model in client.search_logged_models([tracker.experiment_id])
    }
    names = {run.info.run_id: run.info.run_name for run in runs}
    names |= {f"models:/{key}": f"model {model.name}" for key, model in models.items()}
    found: dict[str, Any] = {"runs": sorted(run.info.run_name for run in runs)}
    for run in runs:
        root = kept / run.info.run_id / "artifacts"
        found[run.info.run_name] = {
            "status": run.info.status,
            "params": run.data.params,
            "tags": {k: names.get(v, v) for k, v in run.data.tags.items() if k != stored_name(KEY)},
            "points": {
                name: [
                    (point.step, point.value)
                    for point in client.get_metric_history(run.info.run_id, name)
                ]
                for name in run.data.metrics
            },
            "inputs": [
                (i.dataset.name, i.dataset.digest, i.tags[0].value)
                for i in run.inputs.dataset_inputs
            ],
            "outputs": [
                names[f"models:/{output.model_id}"] for output in run.outputs.model_outputs
            ],
            "files": {
                str(p.relative_to(root)): p.read_bytes()
                for p in sorted(root.rglob("*"))
                if p.is_file()
            },
        }
    for model in models.values():
        files = kept / "models" / model.model_id / "artifacts"
        found.setdefault("models", []).append(
            {
                "name": model.name,
                "status": str(model.status),
                "of": names[model.source_run_id],
                "tags": {
                    key: value for key, value in model.tags.items() if not key.startswith("mlflow.")
                },
                "figures": sorted((m.key, m.value, m.dataset_name) for m in model.metrics or []),
                "files": sorted(path.name for path in files.rglob("*")),
            }
        )
    return found
