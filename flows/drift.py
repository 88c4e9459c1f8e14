"""New reviews against the champion: have they drifted? An event tells whoever waits for it, such as a retraining."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.ingest import ingest
from tasks.data.drift import measure_drift
from tasks.lineage.about_version import CHAMPION, settings_of
from tasks.reporting.summary import describe_drift
from tasks.tracking.track import parent_run


@flow(name="drift", persist_result=False)
def drift(
    preset: str = "", input: list[str] | None = None, overrides: list[str] | None = None
) -> dict[str, Any]:
    """Read new reviews and compare those that the champion's data do not have with those that they have.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file; empty: the champion's own settings.
        input: Files, folders or globs of reviews; none: those that the champion was made from, as they are now.
        overrides: Settings as `key=value`, e.g. `drift.false_alarm=0.05`.
    """
    config = settings_of((CHAMPION,), preset, input or [], overrides or []).config
    with parent_run(config, "drift") as run_id:
        return describe_drift(measure_drift.submit(config, ingest(config), run_id, announce=True).result())
