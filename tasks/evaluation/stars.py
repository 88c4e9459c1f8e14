"""Draw bits per byte by star rating; a later run with the same scores takes the image from the store."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from evaluation.scoring.metrics import star_slices
from tasks.evaluation.evaluate import Measured, figures_of_artifact, scores_of
from tasks.stage import run_stage

PLOTS, IMAGE = "plots", "bits_per_byte_by_stars.png"


def star_plots(config: RunConfig, measured: Sequence[Measured]) -> Path:
    """Return a folder with the bar chart of these models; draw it if the store lacks it."""
    options = {"models": [model.name for model in measured], "matplotlib": version("matplotlib")}
    inputs = {f"scores {model.name}": model.test.digest for model in measured}

    def make(work: Path) -> dict[str, Any]:
        from evaluation.plots.curves import star_bars  # a run that draws nothing does not wait for matplotlib

        slices = {model.name: star_slices(scores_of(model.test), figures_of_artifact(model.test)) for model in measured}
        (work / PLOTS).mkdir(exist_ok=True)
        star_bars(slices).savefig(work / PLOTS / IMAGE, metadata={"Software": None})
        return {"models": len(slices)}

    return run_stage(config, "stars", options, inputs, make).artifact.folder / PLOTS
