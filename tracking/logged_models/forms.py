"""Describe how each family of models is exported to MLflow: what its program opens, declared input and output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

PROGRAM, SMOKE = Path(__file__).with_name("pyfunc.py"), Path(__file__).with_name("smoke.py")
"""The pyfunc model of every family, which is copied next to the bundle, and the program that tests a logged model."""
CLASSIFICATION = "classification"
"""Value of "task" in the `spec.json` of a classifier; a language model has none."""


@dataclass(frozen=True)
class Form:
    """One family of exported models.

    Args:
        model_type: Shown in MLflow; tells the programs which family they have.
        modules: Names of the modules of `models` that its program opens.
        signature: Returns the declared input, output and parameters.
        example: Returns an example of the input, from the bundle's `spec.json`.
        streamable: Whether the model has `predict_stream`.
    """

    model_type: str
    modules: tuple[str, ...]
    signature: Callable[[], ModelSignature]
    example: Callable[[Mapping[str, Any]], Any]
    streamable: bool


def language_model_signature() -> ModelSignature:
    """Return the declared input, output and parameters; `pyfunc.py` explains them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    from tracking.logged_models.pyfunc import COLUMN, DEFAULTS

    long, double, string = DataType.long, DataType.double, DataType.string
    word = Object([Property("word", string), Property("probability", double)])
    token = Object([Property("token", string), Property("nats", double)])
    answers: list[tuple[str, Any]] = [
        ("bundle", string), ("texts", Array(string)), ("words", Array(word)), ("rest", double), ("tokens", long),
        ("bytes", long), ("nats", double), ("oov", long), ("perplexity", double), ("bits_per_byte", double),
        ("per_token", Array(token)), ("warnings", Array(string)), ("open_bits_per_byte", double),
        ("spelling_nats", double), ("typed", string), ("finished", double),
    ]
    kinds = {str: string, float: double, int: long, type(None): long, list: string}
    params = [
        ParamSpec(name, kinds[type(default)], default, (-1,) if isinstance(default, list) else None)
        for name, default in DEFAULTS.items()
    ]
    outputs = [ColSpec(string, COLUMN), *(ColSpec(kind, name, required=False) for name, kind in answers)]
    return ModelSignature(Schema([ColSpec(string, COLUMN)]), Schema(list(outputs)), ParamSchema(params))


def classifier_signature() -> ModelSignature:
    """Return the declared input and output; `pyfunc.py` explains them."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array, Object, Property

    from tracking.logged_models.pyfunc import COLUMN

    string, double = DataType.string, DataType.double
    label = Object([Property("label", string), Property("score", double), Property("probability", double)])
    outputs = [ColSpec(string, COLUMN), ColSpec(string, "label"), ColSpec(Array(label), "labels")]
    return ModelSignature(Schema([ColSpec(string, COLUMN)]), Schema([*outputs, ColSpec(string, "bundle")]))


def _typed(facts: Mapping[str, Any]) -> Any:
    import pandas as pd

    return pd.DataFrame({"text": ["The food was"]}), {"task": "suggest", "k": 3}


def _reviews(facts: Mapping[str, Any]) -> Any:
    import pandas as pd

    return pd.DataFrame({"text": ["The food was great.", "We waited an hour."]})


LANGUAGE_MODEL = Form(
    "language model", ("base", "sampling", "bundles.bundle"), language_model_signature, _typed,
    streamable=True,
)  # fmt: skip
CLASSIFIER = Form("classifier", ("base", "classification.bundle"), classifier_signature, _reviews, streamable=False)


def form_of(facts: Mapping[str, Any]) -> Form:
    """Return the family of a bundle from its `spec.json`."""
    return CLASSIFIER if facts.get("task") == CLASSIFICATION else LANGUAGE_MODEL
