"""Define the options of each kind of classifier, and its class; must not import numpy or torch, like `models/specs.py`.

`bayes` is fitted in seconds, `logistic` is the baseline, and the recurrent kinds are the most accurate, above all from
the weights of a language model (`docs/concepts/other_models/labelling.md`).
"""

from __future__ import annotations

from dataclasses import field
from pkgutil import resolve_name
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from ..neural.labelling.spec import ChooseBy, LabellingOptions, SequenceTraining, require_labels
from ..neural.spec import Frozen, VectorsName, Width, require_vectors
from ..options import (
    MOST_WHOLE,
    Count,
    Name,
    NotNegative,
    Number,
    Positive,
    Seed,
    Whole,
    options,
    require,
    spec_of,
)
from ..specs import TrainingSpec

LONGEST_NGRAM = 6
FORM = ("kind", "layers", "hidden", "embedding", "nonlinearity", "form", "layer_norm")
"""Options in which a classifier must equal the language model that it starts from."""


def _rising(values: tuple[float, ...], option: ValidationInfo) -> tuple[float, ...]:
    rising = bool(values) and list(values) == sorted(set(values))
    require(
        rising, str(option.field_name), values, "one or more different numbers, in rising order"
    )
    return values


Rising = AfterValidator(_rising)
Orders = Annotated[tuple[Annotated[Whole, Field(ge=1, le=LONGEST_NGRAM)], ...], Rising]
Strengths = Annotated[tuple[Positive, ...], Rising]


@options
class ClassifierOptions:
    """Options of every classifier.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        labels: Names of the labels, in the order of their numbers. The run fills them in.
        choose_by: What chooses the strength, or the state of a network, on validation: "loss" or "macro_f1".
    """

    kind: str
    name: Name
    vocabulary: str = "word"
    labels: tuple[str, ...] = ()
    choose_by: ChooseBy = "loss"

    def __post_init__(self) -> None:
        if self.labels:
            require_labels(
                self.labels, "at least two different names, or left out: the run fills them in"
            )


@options
class FeatureSpec(ClassifierOptions):
    """Options of classifiers of tf-idf features: scikit-learn fits them.

    Args:
        orders: Lengths of the n-grams of vocabulary entries that are features.
        min_reviews: Features in fewer training reviews than this are dropped.
        features: Maximum number of features; the most frequent ones are kept.
        sublinear: Use 1 + ln(count) in place of the count of a feature in a review.
        strengths: Candidates for the strength of the fit; the best one on validation is used.
    """

    orders: Orders = (1, 2)
    min_reviews: Count = 2
    features: Annotated[Whole, Field(ge=1, le=MOST_WHOLE)] = 200_000
    sublinear: bool = True
    strengths: Strengths = (1.0,)


@options
class LogisticSpec(FeatureSpec):
    """Logistic regression; a strength is C, the inverse of the L2 penalty; the first worse one ends the search."""

    kind: Literal["logistic"] = "logistic"
    name: Name = "logistic"
    strengths: Strengths = (1.0, 2.0, 5.0, 10.0, 20.0)


@options
class BayesSpec(FeatureSpec):
    """Complement naive Bayes: the label whose other labels are least likely to have the text (Rennie et al. 2003).

    A strength is added to the sum of each feature; validation also chooses the temperature of the probabilities.
    """

    kind: Literal["bayes"] = "bayes"
    name: Name = "bayes"
    strengths: Strengths = (0.1,)


@options
class TfidfSpec(FeatureSpec):
    """A hidden layer of relu units on the features; a strength is the rate of its optimiser (Adam).

    Args:
        hidden: Units.
        epochs: Most passes over the training reviews; the best state on validation is kept.
        batch: Reviews between two updates.
        seed: Of the first weights and the order of the reviews.
    """

    kind: Literal["tfidf"] = "tfidf"
    name: Name = "tfidf"
    min_reviews: Count = 3
    hidden: Width = 64
    epochs: Count = 3
    batch: Count = 128
    seed: Seed = 1
    strengths: Strengths = (2e-3,)


@options
class RecurrentClassifierSpec(ClassifierOptions, LabellingOptions):
    """Word embeddings, recurrent layers, pooling over a review, head; it may start from a language model.

    Args:
        vectors: Name of word vectors of the section `vectors`, from which the embedding starts; they have `embedding`
            dimensions. "" starts from random numbers. Without `start`.
        freeze_vectors: Do not train the embedding, which stays as the vectors are.
        start: Name of a language model of the same run, vocabulary and sizes. Training starts from its embedding and
            layers, with the rates of Howard & Ruder 2018: `training.learning_rate` is the highest rate of the head,
            `training.warmup` the share of updates in which the rate rises. "" starts from random weights.
        rate_decay: With `start`: factor by which the rate of each layer is below that of the layer above it.
        rate_ratio: With `start`: the rate rises from and falls to its highest value divided by this.
        unfreeze_epochs: With `start`: epochs after which the next lower layer is trained too; 0 trains all at once.
    """

    kind: Literal["rnn", "gru", "lstm"] = "lstm"
    name: Name = "lstm-classifier"
    vectors: VectorsName = ""
    freeze_vectors: Frozen = False
    start: str = ""
    rate_decay: Annotated[Number, Field(ge=1, le=1_000)] = 2.6
    rate_ratio: Annotated[Number, Field(ge=1, le=1_000_000)] = 32.0
    unfreeze_epochs: NotNegative = 1.0
    training: SequenceTraining = field(
        default_factory=lambda: TrainingSpec(
            batch=32,
            epochs=4.0,
            learning_rate=2e-3,
        )
    )

    def __post_init__(self) -> None:
        ClassifierOptions.__post_init__(self)
        LabellingOptions.__post_init__(self)
        require_vectors(self)
        if self.start:
            self._require_start()
        else:
            for name, usual in (
                ("rate_decay", 2.6),
                ("rate_ratio", 32.0),
                ("unfreeze_epochs", 1.0),
            ):
                value = getattr(self, name)
                require(
                    value == usual, name, value, f"left at {usual}: it only takes effect with start"
                )

    @property
    def parts(self) -> tuple[str, ...]:
        """Name of the language model that it starts from; empty without one."""
        return (self.start,) if self.start else ()

    def _require_start(self) -> None:
        require(self.start != self.name, "start", self.start, "another model than itself")
        require(
            not self.vectors,
            "vectors",
            self.vectors,
            "'' with start: the language model gives the embedding",
        )
        forwards = "false with start: a language model reads from the beginning only"
        require(not self.bidirectional, "bidirectional", self.bidirectional, forwards)
        usual = TrainingSpec()
        training = self.training
        slanted = "left out with start, whose rates are slanted triangular"
        require(
            training.schedule == usual.schedule, "training.schedule", training.schedule, slanted
        )
        require(
            training.final_rate == usual.final_rate,
            "training.final_rate",
            training.final_rate,
            slanted,
        )
        groups = self.layers + 2
        enough = self.unfreeze_epochs * (groups - 1) < training.epochs
        need = f"below training.epochs / {groups - 1}, so that the embedding is trained too"
        require(enough, "unfreeze_epochs", self.unfreeze_epochs, need)


ClassifierSpec = LogisticSpec | BayesSpec | TfidfSpec | RecurrentClassifierSpec


CLASSIFIERS: dict[str, tuple[type, str]] = {
    "logistic": (LogisticSpec, ".features:FeatureClassifier"),
    "bayes": (BayesSpec, ".features:FeatureClassifier"),
    "tfidf": (TfidfSpec, ".features:FeatureClassifier"),
    "rnn": (RecurrentClassifierSpec, ".network:NetworkClassifier"),
    "gru": (RecurrentClassifierSpec, ".network:NetworkClassifier"),
    "lstm": (RecurrentClassifierSpec, ".network:NetworkClassifier"),
}


def classifier_class(kind: str) -> Any:
    """Return the class of a kind; it has the class method `load(...)`; `training/labelling/fitting.py` fits it."""
    return resolve_name(f"{__package__}{CLASSIFIERS[kind][1]}")


def language_model_of(spec: ClassifierSpec) -> str:
    """Return the name of the language model that a classifier starts from; "" for none."""
    return spec.start if isinstance(spec, RecurrentClassifierSpec) else ""


def unlike_start(spec: ClassifierSpec, model: Any) -> str:
    """Return the settings that give a classifier the form of the language model that it starts from, or ""."""
    settings = []
    for name in FORM:
        theirs = getattr(model, name)
        ours = getattr(spec, name)
        if theirs != ours:
            settings.append(f"{name} = {theirs!r} (not {ours!r})")

    return ", ".join(settings)


def classifier_from_dict(values: dict[str, Any]) -> ClassifierSpec:
    """Rebuild a spec from the result of `reviewlm.models.options.to_plain_values`; see `spec_of`."""
    return spec_of(values, CLASSIFIERS, "kind of classifier")  # type: ignore[no-any-return]
