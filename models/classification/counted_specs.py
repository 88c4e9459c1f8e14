"""Define the options of the classifiers that are not neural networks, importable without numpy or torch."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from ..neural.labelling.spec import ChooseBy, require_labels
from ..ngram.spec import Smoothing
from ..options import MOST_WHOLE, Count, Name, Positive, Since, Whole, options, require

LONGEST_NGRAM, MOST_BUCKETS = 6, 10_000_000


def _rising(values: tuple[float, ...], option: ValidationInfo) -> tuple[float, ...]:
    rising = bool(values) and list(values) == sorted(set(values))
    require(rising, str(option.field_name), values, "one or more different numbers, in rising order")
    return values


Rising = AfterValidator(_rising)
Orders = Annotated[tuple[Annotated[Whole, Field(ge=1, le=LONGEST_NGRAM)], ...], Rising]
Labels = tuple[str, ...]
Features = Annotated[Whole, Field(ge=1, le=MOST_WHOLE)]


Clusters = Annotated[Whole, Field(ge=0, le=1_000), Since("0.1.0")]
ClusterWords = Annotated[Count, Since("0.1.0")]
Prefixes = Annotated[tuple[Annotated[Whole, Field(ge=1, le=1_000)], ...], Rising, Since("0.1.0")]
Lexicons = Annotated[tuple[Name, ...], Since("0.1.0")]
Patterns = Annotated[dict[Name, str], Since("0.1.0")]
CLUSTER_WORDS, PREFIXES = 10_000, (4, 6, 10, 20)


def require_features(spec: Any) -> None:
    """Refuse clusters, lexicons and patterns that cannot be, in any spec with these options."""
    require(spec.clusters != 1, "clusters", spec.clusters, "0 (none) or at least 2")
    if not spec.clusters:
        for name, usual in (("cluster_words", CLUSTER_WORDS), ("cluster_prefixes", PREFIXES)):
            value = getattr(spec, name)
            require(value == usual, name, value, f"left at {usual}: it only takes effect with clusters")
    different = len(set(spec.lexicons)) == len(spec.lexicons)
    require(different, "lexicons", spec.lexicons, "different names")
    if spec.patterns:
        from .features.patterns import fault  # needs polars

        for name, pattern in spec.patterns.items():
            wrong = fault(pattern)
            require(not wrong, f"patterns.{name}", pattern, f"a regular expression; {wrong}")


def require_given_labels(labels: Labels) -> None:
    """Refuse labels that are given but are not at least two different names."""
    if labels:
        require_labels(labels, "at least two different names, or left out: the run fills them in")


@options
class LogisticSpec:
    """Logistic regression on tf-idf features: scikit-learn fits it, the weights are stored.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        labels: Names of the labels, in the order of their numbers. The run fills them in.
        orders: Lengths of the n-grams of vocabulary entries that are features.
        min_reviews: Features in fewer training reviews than this are dropped.
        features: Maximum number of features; the most frequent ones are kept.
        sublinear: Use 1 + ln(count) in place of the count of a feature in a review.
        strengths: Candidates for C, the inverse strength of the L2 penalty. The best one on validation is used.
        choose_by: What chooses the strength on validation: "loss" or "macro_f1".
        clusters: Number of Brown clusters, learnt from all training reviews without their labels; 0: none. The
            features are prefixes of their bit strings.
        cluster_words: Maximum number of vocabulary entries that are clustered, the most frequent ones.
        cluster_prefixes: Lengths of these prefixes.
        lexicons: Names of lexicons of the section `lexicons`; the feature is the weighted count of a lexicon's words.
        patterns: Regular expressions by name; the feature is the number of matches in the text, upper and lower case
            told apart. They have no look-around.
    """

    kind: Literal["logistic"] = "logistic"
    name: Name = "logistic"
    vocabulary: str = "word"
    labels: Labels = ()
    orders: Orders = (1, 2)
    min_reviews: Count = 2
    features: Features = 200_000
    sublinear: bool = True
    strengths: Annotated[tuple[Positive, ...], Rising] = (0.3, 1.0, 3.0, 10.0, 30.0)
    choose_by: ChooseBy = "loss"
    clusters: Clusters = 0
    cluster_words: ClusterWords = CLUSTER_WORDS
    cluster_prefixes: Prefixes = PREFIXES
    lexicons: Lexicons = ()
    patterns: Patterns = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_given_labels(self.labels)
        require_features(self)


@options
class BayesSpec:
    """One n-gram language model per label, and Bayes' rule: p(label | text) ∝ p(label) p(text | label).

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        labels: Names of the labels, in the order of their numbers. The run fills them in.
        order: Longest n-gram of the language models; longer ones need many reviews of every label.
        smoothing: Their smoothing method, as in `NGramSpec`.
    """

    kind: Literal["bayes"] = "bayes"
    name: Name = "bayes"
    vocabulary: str = "word"
    labels: Labels = ()
    order: Annotated[Whole, Field(ge=1, le=LONGEST_NGRAM)] = 1
    smoothing: Smoothing = "modified_kneser_ney"

    def __post_init__(self) -> None:
        require_given_labels(self.labels)
        without = ("stupid_backoff", "maximum_likelihood")
        positive = self.smoothing not in without
        require(positive, "smoothing", self.smoothing, "one that gives every text a probability above 0")


@options
class FastTextSpec:
    """The mean of learnt vectors of words and n-grams, then a linear layer: fastText fits it, the weights are stored.

    (A. Joulin et al. (2017), "Bag of tricks for efficient text classification".) The fit needs the package `fasttext`;
    answers do not.

    Args:
        name: Shown in tables; not part of the model's identity.
        vocabulary: Name of the vocabulary in the configuration.
        labels: Names of the labels, in the order of their numbers. The run fills them in.
        order: Longest n-gram of vocabulary entries that has a vector.
        dimensions: Length of a vector.
        buckets: Number of vectors that all n-grams share: the vector of an n-gram follows from its hash.
        epochs: Candidates for the passes over the training reviews. The best pair on validation is used.
        rates: Candidates for the learning rate at the start; it falls linearly to 0.
        choose_by: What chooses the pair on validation: "loss" or "macro_f1".
    """

    kind: Literal["fasttext"] = "fasttext"
    name: Name = "fasttext"
    vocabulary: str = "word"
    labels: Labels = ()
    order: Annotated[Whole, Field(ge=1, le=LONGEST_NGRAM)] = 2
    dimensions: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    buckets: Annotated[Whole, Field(ge=1, le=MOST_BUCKETS)] = 500_000
    epochs: Annotated[tuple[Annotated[Whole, Field(ge=1, le=10_000)], ...], Rising] = (3, 5, 10)
    rates: Annotated[tuple[Positive, ...], Rising] = (0.1, 0.3, 1.0)
    choose_by: ChooseBy = "loss"

    def __post_init__(self) -> None:
        require_given_labels(self.labels)
