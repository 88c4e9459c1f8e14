"""Run a learning-rate range test of one model on its prepared data."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from core.config.neural_choice import chosen_model, folder_of, with_only
from flows.ingest import ingest
from flows.prepare import prepare
from flows.retrain import resolve
from flows.server.parameters import Inputs, Overrides, Positive, Preset
from tasks.fitting.fit import limits_of_fits
from tasks.limits import require_limits
from tasks.search.optimizers import find_learning_rate


@flow(name="lr-find", persist_result=False)
def lr_find(
    preset: Preset = "small", input: Inputs = None, overrides: Overrides = None,
    model: str = "", out: str = "", lowest: Positive | None = None, highest: Positive | None = None,
    updates: Annotated[int, Field(ge=20)] = 150, track: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return the result of a learning-rate range test; write its plot and numbers to *out*.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus.
        overrides: Settings as `key=value`.
        model: Name of a neural model of the configuration. "": the only neural model there is.
        out: Output folder. "": lr-find/MODEL.
        lowest: First learning rate. None: the usual one of the model's optimiser.
        highest: Last learning rate. None: as for *lowest*.
        updates: Number of updates in the test, each at a higher rate.
        track: Write the range test to MLflow.
    """
    config = resolve(preset, input, overrides)
    require_limits(limits_of_fits(config))
    spec = chosen_model(config, model)[1]
    alone = with_only(config, spec)
    prepared = prepare(alone, ingest(alone))
    folder = folder_of("lr-find", spec.name, out)
    return find_learning_rate(config, spec, prepared, folder, lowest, highest, updates, track)
