"""One model fitted by every optimiser, on prepared data of a configuration."""

from __future__ import annotations

from typing import Any

from prefect import flow

from core.config.neural_choice import chosen_model, folder_of, with_only
from flows.ingest import ingest
from flows.prepare import prepare
from flows.retrain import resolve
from tasks.search.optimizers import compare_optimizers, of_size


@flow(name="optimizers", persist_result=False)
def optimizers(
    preset: str = "small", input: list[str] | None = None, overrides: list[str] | None = None,
    rates: dict[str, list[float] | None] | None = None, model: str = "", size: int = 64, tokens: int = 60_000,
    epochs: float = 3.0, out: str = "", track: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Return the comparison; its table and pictures lie in *out*.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews; none means the embedded synthetic corpus.
        overrides: Settings as `key=value`.
        rates: Rates to try by rule, none for the one of a range test; none at all for every rule at its usual rates.
        model: Name of a neural model of the configuration; "" takes the only one there is.
        size: Units and embedding of the one layer that is trained; 0 takes the model as it is configured.
        tokens: Training tokens of an epoch, about.
        epochs: Of every trial.
        out: Folder to write to; "" is optimizers/MODEL.
        track: Write the comparison to MLflow.
    """
    config = resolve(preset, input, overrides)
    spec = of_size(chosen_model(config, model)[1], size)
    alone = with_only(config, spec)
    prepared = prepare(alone, ingest(alone))
    folder = folder_of("optimizers", spec.name, out)
    found: dict[str, Any] = compare_optimizers(config, spec, prepared, folder, rates, tokens, epochs, track)
    return found
