"""Compare optimisers: fit one model with each of them on the prepared data of a configuration."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from core.config.neural_choice import chosen_model, folder_of, with_only
from flows.ingest import ingest
from flows.prepare import prepare
from flows.retrain import resolve
from flows.server.parameters import AtLeastZero, Inputs, Overrides, Positive, Preset
from tasks.fitting.fit import limits_of_fits
from tasks.limits import require_limits
from tasks.search.optimizers import compare_optimizers, of_size


@flow(name="optimizers", persist_result=False)
def optimizers(
    preset: Preset = "small", input: Inputs = None, overrides: Overrides = None,
    rates: dict[str, list[float] | None] | None = None, model: str = "",
    size: AtLeastZero = 64, tokens: Annotated[int, Field(ge=1_000)] = 60_000, epochs: Positive = 3.0,
    out: str = "", track: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return the comparison of the optimisers; write its table and plots to *out*.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus.
        overrides: Settings as `key=value`.
        rates: Learning rates to try, by optimiser. None for one optimiser: the rate that a range test suggests. None
            for the whole argument: every optimiser at its usual rates.
        model: Name of a neural model of the configuration. "": the only neural model there is.
        size: Hidden units and embedding size of a one-layer version of the model. 0: the model as configured.
        tokens: Approximate number of training tokens in an epoch.
        epochs: Number of epochs of each trial.
        out: Output folder. "": optimizers/MODEL.
        track: Write the comparison to MLflow.
    """
    config = resolve(preset, input, overrides)
    require_limits(limits_of_fits(config))
    spec = of_size(chosen_model(config, model)[1], size)
    alone = with_only(config, spec)
    prepared = prepare(alone, ingest(alone))
    folder = folder_of("optimizers", spec.name, out)
    return compare_optimizers(config, spec, prepared, folder, rates, tokens, epochs, track)
