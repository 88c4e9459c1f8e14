"""The range test of a model's learning rate, on its own prepared data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.ingest import ingest
from flows.prepare import prepare
from flows.retrain import resolve
from reviewlm.neural_choice import chosen_model, with_only
from tasks.optimizers import find_learning_rate


@flow(name="lr-find", persist_result=False)
def lr_find(
    preset: str = "small", input: list[str] | None = None, overrides: list[str] | None = None,
    model: str = "", out: str = "lr-find", lowest: float | None = None, highest: float | None = None,
    updates: int = 150,
) -> dict[str, Any]:  # fmt: skip
    """Return what a range test suggests; its picture and numbers lie in *out*.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews; none means the embedded synthetic corpus.
        overrides: Settings as `key=value`.
        model: Name of a neural model of the configuration; "" takes the only one there is.
        out: Folder to write to.
        lowest: First rate; none takes what is usual with the model's optimiser.
        highest: Last rate.
        updates: Between them.
    """
    config = resolve(preset, input, overrides)
    spec = chosen_model(config, model)[1]
    alone = with_only(config, spec)
    prepared = prepare(alone, ingest(alone))
    found: dict[str, Any] = find_learning_rate(config, spec, prepared, Path(out), lowest, highest, updates)
    return found
