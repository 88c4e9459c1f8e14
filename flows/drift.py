"""Test new reviews for drift against the champion's data. Drift emits an event that can start a retraining."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.parts import ingest
from flows.server.parameters import Inputs, Overrides, PresetOrNone, with_absolute_paths
from tasks.data.drift import measure_drift
from tasks.fitting.fit import limits_of_fits
from tasks.limits import require_limits
from tasks.lineage.about_version import CHAMPION, settings_of
from tasks.run_summary import describe_drift
from tasks.stage import step
from tasks.track import parent_run


@flow(name="drift", persist_result=False)
def drift(
    preset: PresetOrNone = "", input: Inputs = None, overrides: Overrides = None
) -> dict[str, Any]:
    """Ingest reviews and compare those that are not in the champion's data with those that are.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. None: the champion's input files, read in their current state.
        overrides: Settings as `key=value`, e.g. `drift.false_alarm=0.05`.
    """
    config = settings_of((CHAMPION,), preset, input or [], overrides or []).config
    require_limits(limits_of_fits(config))
    with parent_run(config, "drift") as run_id:
        request, dataset = with_absolute_paths(preset, input, overrides), ingest(config)
        with step("drift", "compare the new reviews with those that the champion knows"):
            return describe_drift(measure_drift(config, dataset, run_id, request))
