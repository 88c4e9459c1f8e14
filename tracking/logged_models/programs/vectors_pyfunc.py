"""Serve a bundle of word vectors as an MLflow pyfunc model: `mlflow models serve`, `mlflow.pyfunc.load_model`.

MLflow copies this file next to the model and runs the copy. So it imports only the standard library, pandas, MLflow and
the copy of `models/` that is part of the model (see `tracking/logged_models/export.py`).

The input has one column, `text`: an entry of the vocabulary, or several words separated by spaces, which stand for the
mean of their vectors of length 1. A word is looked up as it is, in lower case, and then with a space before it, because
parts that begin a word have one. Each row gets one answer: its `text`, `known` and `unknown` (its words with and
without a vector), and `bundle`, the first digits of the digest that the registered version has as a tag. With the
parameter `task="nearest"` also `nearest`, the `k` nearest words with their cosines, without the given ones; with
`task="vector"` `vector`: of one word as it was trained, of several the mean. Without any known word, both are empty.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

COLUMN, DIGITS = "text", 12
NEAREST, VECTOR = "nearest", "vector"
DEFAULTS: dict[str, Any] = {"task": NEAREST, "k": 10}


class ReviewVectors(PythonModel):
    """Word vectors with the code that was exported with them."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle with the vendored package, which compares every file with its SHA-256."""
        opened = import_module(f"{context.model_config['package']}.vectors.bundle")
        bundle = opened.load_vectors(Path(context.artifacts["bundle"]))
        self._vectors, self._digest = bundle.vectors, bundle.digest[:DIGITS]

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Answer every row of the column `text`.

        Args:
            context: Not used; MLflow passes it by this name.
            model_input: A table with the column `text`.
            params: `task` and `k`.

        Returns:
            One dictionary per row.
        """
        asked = {**DEFAULTS, **(params or {})}
        if unknown := sorted(asked.keys() - DEFAULTS.keys()):
            raise _bad(f"unknown parameter {', '.join(map(repr, unknown))}; known are {', '.join(DEFAULTS)}")
        if asked["task"] not in (NEAREST, VECTOR):
            raise _bad(f"task is {asked['task']!r}; it must be {NEAREST!r} or {VECTOR!r}")
        if asked["k"] < 1:
            raise _bad(f"k is {asked['k']}; it must be at least 1")
        return [self._answer(text, asked["task"], int(asked["k"])) for text in _texts(model_input)]

    def _answer(self, text: str, task: str, k: int) -> dict[str, Any]:
        vectors, words = self._vectors, text.split() or [text]
        if self._row(text) is not None:
            words = [text]
        found = {word: row for word in words if (row := self._row(word)) is not None}
        known = [word for word in words if word in found]
        told = {COLUMN: text, "known": known, "unknown": [word for word in words if word not in found],
                "bundle": self._digest}  # fmt: skip
        rows = [found[word] for word in known]
        if not rows:
            return {**told, task: []}
        middle_D = vectors.unit_ND[rows].mean(0)
        if task == VECTOR:
            vector_D = vectors.matrix_ND[rows[0]] if len(rows) == 1 else middle_D
            return {**told, VECTOR: vector_D.astype(np.float64).tolist()}
        near = vectors.nearest(middle_D, k, rows)
        return {**told, NEAREST: [{"word": one.word, "cosine": float(one.cosine)} for one in near]}

    def _row(self, word: str) -> int | None:
        """Return the place of a word or entry; None if it has no vector."""
        begun = f" {word}" if word.strip() else word
        forms = (word, word.lower(), begun, begun.lower())
        return next((self._vectors.index[form] for form in forms if form in self._vectors.index), None)


def _texts(model_input: Any) -> list[str]:
    texts = list(model_input[COLUMN] if hasattr(model_input, "columns") else model_input)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise _bad(f"{COLUMN} of row {row} is {text!r}; it must be a string")
    return texts


def _bad(what: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(what)


set_model(ReviewVectors())
