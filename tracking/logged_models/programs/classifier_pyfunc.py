"""Serve the bundle of a classifier as an MLflow pyfunc model: `mlflow models serve`, `mlflow.pyfunc.load_model`.

MLflow copies this file next to the model and runs the copy. So it imports only the standard library, pandas, MLflow and
the copy of `models/` that is part of the model (see `tracking/logged_models/export.py`).

The input has one column, `text`; each row gets one answer: its `text`, the `label` that the classifier answers,
`labels` (each label with its `score` and, for a classifier that has them, its `probability`), and `bundle`, the first
digits of the digest that the registered version has as a tag. An answer never depends on other rows.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

COLUMN, DIGITS = "text", 12


class ReviewClassifier(PythonModel):
    """A classifier's bundle with the code that was exported with it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle with the vendored package, which reads the probe texts again and refuses a difference."""
        package = context.model_config["package"]
        self._error = import_module(f"{package}.base").ModelError
        opened = import_module(f"{package}.classification.bundle")
        self._bundle = opened.load_classifier(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Answer every row of the column `text`.

        Args:
            context: Not used; MLflow passes it by this name.
            model_input: A table with the column `text`.
            params: Must be empty; MLflow passes it by this name.

        Returns:
            One dictionary per row.
        """
        if params:
            raise _bad(f"unknown parameter {', '.join(map(repr, sorted(params)))}; a classifier has none")
        texts = _texts(model_input)
        try:
            found = self._bundle.classify(texts)
        except self._error as error:
            raise (_bad(str(error)) if error.kind == "input" else MlflowException(str(error))) from error
        return [
            {
                COLUMN: text, "label": self._bundle.labels[found.answers_N[row]],
                "labels": self._labels(found, row), "bundle": self._bundle.digest[:DIGITS],
            }
            for row, text in enumerate(texts)
        ]  # fmt: skip

    def _labels(self, found: Any, row: int) -> list[dict[str, Any]]:
        """Return each label with its score, and its probability if there is one."""
        scores, chances = zip(self._bundle.labels, found.scores_NK[row], strict=True), found.probabilities_NK
        told = [{"label": label, "score": float(score)} for label, score in scores]
        if chances is not None:
            for one, chance in zip(told, chances[row], strict=True):
                one["probability"] = float(chance)
        return told


def _texts(model_input: Any) -> list[str]:
    texts = list(model_input[COLUMN] if hasattr(model_input, "columns") else model_input)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise _bad(f"{COLUMN} of row {row} is {text!r}; it must be a string")
    return texts


def _bad(what: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(what)


set_model(ReviewClassifier())
