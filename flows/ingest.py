"""Ingest raw files or the embedded corpus into a checked data set, and announce new files."""

from __future__ import annotations

from typing import Any

from prefect import flow

from reviewlm.core.services.join import INGESTED
from reviewlm.flows.parts import ingest
from reviewlm.flows.retrain import resolve
from reviewlm.flows.server.parameters import Inputs, Overrides, PresetOrNone, with_absolute_paths
from reviewlm.tasks.execution.stage import announce, conclude, one_log, recorded_stages
from reviewlm.tasks.records.run_summary import describe_dataset

MOST_NAMED = 20
"""New files that the event names."""


@flow(name="ingest-only", persist_result=False)
def ingest_only(
    preset: PresetOrNone = "small",
    input: Inputs = None,
    overrides: Overrides = None,
) -> dict[str, Any]:
    """Ingest and check the input; return row count, quarantine count, parts, digest and dates.

    If all files were read before and have passed the check, the run says so. New files are an event.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. Empty: the demo's synthetic reviews, or the champion's files in a run
            without a preset and in a deployment's run of your own data.
        overrides: Settings as `key=value`, e.g. `source.max_chars=20000`.
    """
    config = resolve(preset, input, overrides)
    with one_log(), recorded_stages() as record:
        dataset = ingest(config)

    if all(one.reused for one in record.stages):
        message = f"Nothing new: all source files ({len(dataset.facts['sources'])}) were read and checked before"
        return conclude(describe_dataset(dataset), message, always=True)

    result = describe_dataset(dataset)
    message = f"Read and checked: {dataset.facts['rows']:,} reviews"
    if new := {one.label for one in record.stages if one.stage == "read" and not one.reused}:
        reviews = 0
        for source in dataset.facts["sources"]:
            if source["name"] in new:
                reviews += source["rows"]

        message = f"New files: {len(new)}, with {reviews:,} reviews"
        event = {
            "count": len(new),
            "files": sorted(new)[:MOST_NAMED],
            "new_reviews": reviews,
            "sentence": message,
            "dataset": dataset.digest,
        }
        # This run's parameters are for a retrain with the same settings.
        announce(
            INGESTED,
            config.promotion.model_name,
            {**with_absolute_paths(preset, input, overrides), **event},
        )

    return conclude(result, message)
