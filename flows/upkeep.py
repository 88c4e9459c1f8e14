"""Remove from the home folder what no version, no recent run and no running process needs, on a schedule."""

from __future__ import annotations

from typing import Any

from prefect import flow

from reviewlm.core.config.presets import load_config
from reviewlm.flows.server.parameters import Overrides, Preset
from reviewlm.tasks.execution.stage import conclude
from reviewlm.tasks.upkeep.collect import collect


@flow(
    name="upkeep",
    flow_run_name="upkeep: free space in the home folder",
    persist_result=False,
)
def upkeep(
    preset: Preset = "small",
    overrides: Overrides = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Remove what is not needed any more, and return numbers and sizes.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file; its sections `execution` and `upkeep` count.
        overrides: Settings as `key=value`, e.g. `upkeep.runs=3`.
        dry_run: Only list what would go.
    """
    config = load_config(preset, overrides or [])
    result = collect(config.workspace, config.upkeep, dry_run)
    megabytes = (result["bytes_before"] - result["bytes_after"]) / 1e6
    verb = "Would free" if dry_run else "Freed"
    after = result["bytes_after"] / 1e6
    return conclude(result, f"{verb} {megabytes:,.0f} MB; the home folder has {after:,.0f} MB")
