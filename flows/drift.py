"""Test new reviews for drift against the champion's data, and score champions on them, month by month.

Drift emits an event; that of a deployment's run starts a retrain.
"""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow
from prefect.runtime import deployment

from reviewlm.core.errors import EmptyInput
from reviewlm.flows.parts import ingest
from reviewlm.flows.server.parameters import Inputs, Overrides, PresetOrNone, with_absolute_paths
from reviewlm.tasks.data.drift import measure_drift
from reviewlm.tasks.evaluation.rescore import choose_versions, report_decay, rescore_version
from reviewlm.tasks.execution.stage import conclude, step
from reviewlm.tasks.records.run_summary import describe_drift
from reviewlm.tasks.records.track import CHAMPION, parent_run, settings_of


def retrain_request(
    preset: str,
    input: Inputs,
    overrides: Overrides,
) -> dict[str, Any]:
    """Return the parameters of a retrain on the given reviews and the champion's: on new ones alone it would forget."""
    if input:
        known = settings_of((CHAMPION,), preset, (), overrides or ()).config.source.input
    else:
        known = ()

    return with_absolute_paths(preset, [*dict.fromkeys((*known, *(input or ())))], overrides)


@flow(name="drift", persist_result=False)
def drift(
    preset: PresetOrNone = "",
    input: Inputs = None,
    overrides: Overrides = None,
) -> dict[str, Any]:
    """Ingest reviews and compare those that are not in the champion's data with those that are.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs of reviews. None: the champion's input files, read in their current state.
        overrides: Settings as `key=value`, e.g. `drift.false_alarm=0.05`.
    """
    config = settings_of((CHAMPION,), preset, input or [], overrides or []).config
    with parent_run(config, "drift") as run_id:
        # Whoever runs a command asks a question; a retrain would be a surprise.
        request = None
        if deployment.id:
            request = retrain_request(preset, input, overrides)

        dataset = ingest(config)
        with step("drift", "compare the new reviews with those that the champion knows"):
            result = describe_drift(measure_drift(config, dataset, run_id, request))

    return conclude(result, f"Drift: {result['sentence'].rstrip('.')}.")


@flow(name="rescore", persist_result=False)
def rescore(
    preset: PresetOrNone = "",
    input: Inputs = None,
    overrides: Overrides = None,
    versions: Literal["champion", "all"] = "champion",
) -> dict[str, Any]:
    """Score the champion by month on reviews it was not trained on; log the curve to MLflow.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the champion's own settings.
        input: Files, folders or globs that include new reviews. None: the champion's own input paths.
        overrides: Settings as `key=value`, e.g. `evaluation.resamples=1000`.
        versions: "champion", or "all" for every current and former champion.
    """
    config = settings_of((CHAMPION,), preset, input or [], overrides or []).config
    chosen = choose_versions(config.workspace, config.promotion.model_name, versions)
    with parent_run(config, "rescore") as run_id:
        dataset = ingest(config)
        decays = {version.version: rescore_version(config, dataset, version) for version in chosen}
        if decays[chosen[0].version] is None:
            raise EmptyInput(
                f"Version {chosen[0].version}, the champion, cannot be scored again",
                cause="its bundle or its data are missing; see the log",
            )
        measured = {version: decay for version, decay in decays.items() if decay}
        report = report_decay(config.workspace, measured, run_id)

    result = {**report, "mlflow_run_id": run_id}
    return conclude(result, f"Version {result['version']}: {result['sentence'].rstrip('.')}.")
