"""Draw the figures of a run's report; a later run with the same measurements takes them from the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from core.config.run_config import RunConfig
from evaluation.reports.report_pictures import DrawnFigure, pictures_of
from tasks.evaluation.compare import Evaluated
from tasks.reporting.measured import measured_results
from tasks.stage import run_stage

WORDS_FILE = "figures.json"
"""Words and drawing of each figure; its PNG image is a file of its own."""


def report_figures(config: RunConfig, evaluated: Evaluated, winner: str) -> list[DrawnFigure]:
    """Return the figures of a run's measurements, before the gate decides; draw them if the store lacks them.

    Args:
        evaluated: The measured models.
        winner: The model that the figures show first.
    """
    options = {
        "winner": winner, "baseline": config.baseline, "confidence": config.evaluation.confidence,
        "models": [model.name for model in evaluated.models], "floor": evaluated.floor,
        "matplotlib": version("matplotlib"),
    }  # fmt: skip
    inputs = {
        f"{what} {model.name}": artifact.digest
        for model in evaluated.models
        for what, artifact in (
            ("fit", model.fitted.artifact), ("scores", model.test), ("samples", model.samples),
            ("observations", model.observed), ("audit", model.audit),
        )
    }  # fmt: skip
    table = hashlib.sha256(evaluated.comparison.table.write_json().encode()).hexdigest()  # has costs besides results
    inputs |= {"comparison": evaluated.comparison.artifact.digest, "table": table}

    def make(work: Path) -> dict[str, Any]:
        drawn = [one.drawn for one in pictures_of(measured_results(config, evaluated, winner))]
        _write(drawn, work)
        return {"figures": len(drawn)}

    return _read(run_stage(config, "figures", options, inputs, make, winner).artifact.folder)


def _write(drawn: Sequence[DrawnFigure], folder: Path) -> None:
    for figure in drawn:
        (folder / f"{figure.name}.png").write_bytes(figure.png)
    told = [{name: value for name, value in asdict(figure).items() if name != "png"} for figure in drawn]
    (folder / WORDS_FILE).write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")


def _read(folder: Path) -> list[DrawnFigure]:
    told = json.loads((folder / WORDS_FILE).read_text(encoding="utf-8"))
    return [DrawnFigure(**figure, png=(folder / f"{figure['name']}.png").read_bytes()) for figure in told]
