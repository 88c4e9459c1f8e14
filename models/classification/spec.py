"""Map each kind of classifier to its options and its class; must not import torch, like `models/specs.py`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..options import stored
from .counted_specs import BayesSpec as BayesSpec
from .counted_specs import LogisticSpec as LogisticSpec
from .network_specs import BagSpec as BagSpec
from .network_specs import ConvolutionSpec as ConvolutionSpec
from .network_specs import RecurrentClassifierSpec as RecurrentClassifierSpec
from .network_specs import TfidfSpec as TfidfSpec

ClassifierSpec = LogisticSpec | TfidfSpec | BagSpec | ConvolutionSpec | RecurrentClassifierSpec | BayesSpec
NetworkSpec = TfidfSpec | BagSpec | ConvolutionSpec | RecurrentClassifierSpec

FORM = ("kind", "layers", "hidden", "embedding", "nonlinearity", "form", "layer_norm")
"""Options in which a classifier must equal the language model that it starts from."""

CLASSIFIERS: dict[str, tuple[type, str]] = {
    "logistic": (LogisticSpec, ".logistic:LogisticClassifier"),
    "bayes": (BayesSpec, ".bayes:BayesClassifier"),
    "tfidf": (TfidfSpec, ".tfidf_network:TfidfNetworkClassifier"),
    "bag": (BagSpec, ".network:NetworkClassifier"),
    "cnn": (ConvolutionSpec, ".network:NetworkClassifier"),
    "rnn": (RecurrentClassifierSpec, ".network:NetworkClassifier"),
    "gru": (RecurrentClassifierSpec, ".network:NetworkClassifier"),
    "lstm": (RecurrentClassifierSpec, ".network:NetworkClassifier"),
}


def classifier_class(kind: str) -> Any:
    """Return the class of a kind; it has the class method `load(...)`; `training/classification/fitting.py` fits it."""
    module, name = CLASSIFIERS[kind][1].split(":")
    return getattr(import_module(module, __package__), name)


def language_model_of(spec: ClassifierSpec) -> str:
    """Return the name of the language model that a classifier starts from; "" for none."""
    return spec.start if isinstance(spec, RecurrentClassifierSpec) else ""


def unlike_start(spec: ClassifierSpec, model: Any) -> str:
    """Return what must be set so that a classifier has the form of the language model that it starts from, or ""."""
    return ", ".join(f"{name} = {value!r} (not {getattr(spec, name)!r})" for name in FORM
                     if (value := getattr(model, name)) != getattr(spec, name))  # fmt: skip


def to_dict(spec: ClassifierSpec) -> dict[str, Any]:
    """Return the options as JSON values."""
    return {**stored(spec), "labels": list(spec.labels)}


def identity(spec: ClassifierSpec) -> dict[str, Any]:
    """Return the options that a fit depends on as JSON values: all but the names, which are only labels."""
    return {name: value for name, value in to_dict(spec).items() if name not in ("name", "vocabulary")}


def classifier_from_dict(options: dict[str, Any]) -> ClassifierSpec:
    """Rebuild a spec from the result of `to_dict`, also after JSON (lists for tuples).

    Raises:
        ValueError: An option does not exist, or its value is not allowed.
    """
    kind = options.get("kind")
    if not isinstance(kind, str) or kind not in CLASSIFIERS:
        raise ValueError(f"there is no kind of classifier {str(kind)[:40]!r}; known: {', '.join(CLASSIFIERS)}")
    return CLASSIFIERS[kind][0](**options)  # type: ignore[no-any-return]
