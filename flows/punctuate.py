"""Fit a model that restores case and punctuation: the pipeline up to the prepared reviews, then its stage."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.parts import ingest
from flows.retrain import resolve
from flows.server.parameters import Inputs, Overrides, Preset
from tasks.data.prepare import check_table, clean_and_split
from tasks.fitting.fit import limits_of_fits
from tasks.limits import require_limits
from tasks.punctuate import MODEL, fit_punctuator
from tasks.stage import step


@flow(name="punctuate", persist_result=False)
def punctuate(
    preset: Preset = "small", input: Inputs = None, overrides: Overrides = None
) -> dict[str, Any]:
    """Return where the model is, and its figures on the test reviews.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. None: the embedded synthetic corpus.
        overrides: Settings as `key=value`.
    """
    config = resolve(preset, input, overrides)
    require_limits(limits_of_fits(config))
    dataset = ingest(config)
    with step("punctuate", "train a tagger of case and punctuation"):
        clean = clean_and_split(config, dataset)
        check_table(config, "clean", clean)
        fitted = fit_punctuator(config, clean)
    return {"model": str(fitted.folder / MODEL), "digest": fitted.digest, **fitted.facts}
