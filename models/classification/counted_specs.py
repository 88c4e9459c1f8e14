"""Define the options of the classifiers that are not neural networks, importable without numpy or torch."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from ..neural.labelling.spec import ChooseBy, require_labels
from ..ngram.spec import Smoothing
from ..options import MOST_WHOLE, Count, Name, Positive, Whole, options, require

LONGEST_NGRAM = 6


def _rising(values: tuple[float, ...], option: ValidationInfo) -> tuple[float, ...]:
    rising = bool(values) and list(values) == sorted(set(values))
    require(rising, str(option.field_name), values, "one or more different numbers, in rising order")
    return values


Rising = AfterValidator(_rising)
Orders = Annotated[tuple[Annotated[Whole, Field(ge=1, le=LONGEST_NGRAM)], ...], Rising]
Labels = tuple[str, ...]


@options
class ClassifierOptions:
    """Options of every classifier.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        labels: Names of the labels, in the order of their numbers. The run fills them in.
    """

    kind: str
    name: Name
    vocabulary: str = "word"
    labels: Labels = ()

    def __post_init__(self) -> None:
        if self.labels:
            require_labels(self.labels, "at least two different names, or left out: the run fills them in")


@options
class FeatureOptions(ClassifierOptions):
    """Options of classifiers that read counted features.

    Args:
        orders: Lengths of the n-grams of vocabulary entries that are features.
        min_reviews: Features in fewer training reviews than this are dropped.
        features: Maximum number of features; the most frequent ones are kept.
        sublinear: Use 1 + ln(count) in place of the count of a feature in a review.
        lexicons: Names of lexicons of the section `lexicons`; the feature is the weighted count of a lexicon's words.
        patterns: Regular expressions by name; the feature is the number of matches in the text, upper and lower case
            told apart. They have no look-around.
    """

    orders: Orders = (1, 2)
    min_reviews: Count = 2
    features: Annotated[Whole, Field(ge=1, le=MOST_WHOLE)] = 200_000
    sublinear: bool = True
    lexicons: tuple[Name, ...] = ()
    patterns: dict[Name, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        different = len(set(self.lexicons)) == len(self.lexicons)
        require(different, "lexicons", self.lexicons, "different names")
        if self.patterns:
            from .features.patterns import fault  # needs polars

            for name, pattern in self.patterns.items():
                wrong = fault(pattern)
                require(not wrong, f"patterns.{name}", pattern, f"a regular expression; {wrong}")


@options
class LogisticSpec(FeatureOptions):
    """Logistic regression on tf-idf features: scikit-learn fits it, the weights are stored.

    Args:
        strengths: Candidates for C, the inverse strength of the L2 penalty. The best one on validation is used.
        choose_by: What chooses the strength on validation: "loss" or "macro_f1".
    """

    kind: Literal["logistic"] = "logistic"
    name: Name = "logistic"
    strengths: Annotated[tuple[Positive, ...], Rising] = (0.3, 1.0, 3.0, 10.0, 30.0)
    choose_by: ChooseBy = "loss"


@options
class BayesSpec(ClassifierOptions):
    """One n-gram language model per label, and Bayes' rule: p(label | text) ∝ p(label) p(text | label).

    Args:
        order: Longest n-gram of the language models; longer ones need many reviews of every label.
        smoothing: Their smoothing method, as in `NGramSpec`.
    """

    kind: Literal["bayes"] = "bayes"
    name: Name = "bayes"
    order: Annotated[Whole, Field(ge=1, le=LONGEST_NGRAM)] = 1
    smoothing: Smoothing = "modified_kneser_ney"

    def __post_init__(self) -> None:
        super().__post_init__()
        without = ("stupid_backoff", "maximum_likelihood")
        positive = self.smoothing not in without
        require(positive, "smoothing", self.smoothing, "one that gives every text a probability above 0")
