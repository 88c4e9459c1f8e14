"""Compare two models: find them, measure both on the same test reviews, write one Markdown document."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.parts import prepare, recorded_or_read
from flows.server.parameters import Inputs, Overrides, PresetOrNone, Reference
from tasks.evaluation.compare_two import compare_two, write_markdown
from tasks.fitting.fit import limits_of_fits
from tasks.limits import require_limits
from tasks.lineage.about_version import settings_of
from tasks.track import parent_run


@flow(name="compare", persist_result=False)
def compare(
    preset: PresetOrNone = "", input: Inputs = None, overrides: Overrides = None,
    first: Reference = "previous", second: Reference = "champion",
) -> dict[str, Any]:
    """Compare two models on the same test reviews.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the settings of the newer version.
        input: Files, folders or globs of reviews. None: the data of the newer version.
        overrides: Settings as `key=value`.
        first: Number or alias of a registered version, or the name of a model of this configuration.
        second: The other model, in the same form.
    """
    chosen = settings_of((first, second), preset, input or [], overrides or [])
    config = chosen.config
    require_limits(limits_of_fits(config))
    with parent_run(config, f"compare {first} {second}") as run_id:
        prepared = prepare(config, recorded_or_read(chosen), of=chosen.clean)
        pair = compare_two(config, prepared, first, second, run_id)
        markdown = write_markdown(pair, config.home / "comparisons")
        return {**pair.to_dict(), "mlflow_run_id": run_id, "markdown": str(markdown)}
