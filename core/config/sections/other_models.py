"""Define the settings of other models than language models: classifiers, `punctuate`, word vectors; and of sweeps."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from reviewlm.core.config.section import Line, Section, require_names, require_numbers
from reviewlm.core.config.sections.evaluation import (
    DEMO_MODEL,
    OWN_MODEL,
    GatePolicy,
    Limit,
    RegisteredName,
)
from reviewlm.models.classification.spec import ClassifierSpec
from reviewlm.models.neural.labelling.spec import TaggingSpec
from reviewlm.models.options import (
    MOST_WHOLE,
    Count,
    Name,
    Number,
    OrNone,
    Seed,
    ShareBelowOne,
    Whole,
    require_name,
)
from reviewlm.models.specs import TrainingSpec
from reviewlm.models.written_words import TAGS


class ClassifierLimits(Section):
    """The limits of the gate for classifiers: a challenger must beat the champion on the same test reviews, in macro-F1.

    The rules without a limit of their own here follow the section `promotion`.

    docs/concepts/evaluation/classification.md lists the rule of each field. A limit that is a number requires its
    evidence: if that is missing, the rule fails. Gains are differences of shares: 0.01 is one point of 100.

    Attributes:
        model_name: Name of the registered classifier, without quotes, slashes, colons and @; empty: `reviewlm-` and
            what is predicted, such as `reviewlm-stars`. "reviewlm-demo" is completed in the same way, and reserved for
            the embedded corpus: with files as input, it is read as empty.
        min_test_reviews: Minimum number of independent groups of test reviews; fewer decide nothing.
        min_gain: Minimum gain in macro-F1 over the champion. The lower end of the interval must be above it.
        min_gain_over_majority: Minimum gain in accuracy over always answering the most frequent label. The lower end of
            the interval must be above it. With very unequal labels "none" may be right: then a useful classifier can
            have a lower accuracy.
        min_gain_over_baseline: Minimum gain in macro-F1 over the baseline classifier. The lower end of the interval
            must be above it.
        max_slice_loss: Largest loss of accuracy on a slice. A larger loss counts only if it is statistically
            significant.
    """

    slice_dimensions: ClassVar = ("label", "length", "month", "category")
    """Dimensions by which the test reviews are divided into slices."""

    model_name: RegisteredName | Literal[""] = ""
    min_gain: ShareBelowOne = 0.0
    min_gain_over_majority: Annotated[ShareBelowOne | None, OrNone] = 0.0
    min_gain_over_baseline: ShareBelowOne = 0.0
    min_test_reviews: Annotated[Whole, Field(ge=2, le=MOST_WHOLE)] = 100
    max_slice_loss: Limit = 0.05


class ClassificationPromotion(ClassifierLimits, GatePolicy):
    """Policy of the gate for classifiers: its own limits, and what it shares with that of language models."""


Classifier = Annotated[ClassifierSpec, Field(discriminator="kind")]


class ClassificationConfig(Section):
    """Settings of the flow `classify`; without `models` there is nothing to fit.

    Attributes:
        label: What is predicted: "stars" (1 to 5), "polarity" (1 and 2 stars are negative, 4 and 5 positive; reviews of
            3 stars are left out), or the name of a field of the files, such as "category". Reviews without a label are
            left out.
        models: The classifiers. One that starts from a language model names a model of the section `models`.
        baseline: Name of the classifier that all others are compared with.
        train_reviews: Number of training reviews whose label may be used, drawn at random; None: all of them.
        promotion: Policy of the gate.
    """

    min_label_reviews: ClassVar = 10
    """Minimum number of training reviews of a label that is a field's value; rarer ones are left out."""

    label: Line = "stars"
    models: tuple[Classifier, ...] = ()
    baseline: str = "tfidf_logistic"
    train_reviews: Count | None = None
    promotion: ClassifierLimits = ClassifierLimits()

    @property
    def model_name(self) -> str:
        """Name of the registered model: as configured, or one for each thing that is predicted.

        The names of the language models are completed, so that no classifier becomes a version of one of them.
        """
        name = self.promotion.model_name or OWN_MODEL
        if name in (OWN_MODEL, DEMO_MODEL):
            return f"{name}-{self.label}"
        return name

    @model_validator(mode="after")
    def _names_fit_together(self) -> ClassificationConfig:
        if not self.label.strip():
            raise ValueError(
                "label is empty; it must be 'stars', 'polarity', or the name of a field of the files"
            )

        require_name(self.model_name, "promotion.model_name, completed with the label,")
        if self.model_name == DEMO_MODEL:
            raise ValueError(
                f"with label {self.label!r} the model would be named {DEMO_MODEL!r}, which is reserved: set "
                "promotion.model_name"
            )

        require_names("classifiers", self.models, self.baseline)
        if labelled := [spec.name for spec in self.models if spec.labels]:
            raise ValueError(
                f"classifier {labelled[0]!r} sets the option `labels`: remove it, labels come from "
                "`classification.label`"
            )

        return self


class PunctuationConfig(Section):
    """Settings of a model that restores case and punctuation; its other options are fixed in `spec`.

    Attributes:
        hidden: Units of each layer and direction.
        epochs: Passes over the training text.
        train_words: Words of the training reviews that are read at most; validation gets a tenth of that.
    """

    hidden: Count = 160
    epochs: Annotated[Number, Field(gt=0, le=1_000)] = 4
    train_words: Count = 2_000_000

    def spec(self, seed: int) -> TaggingSpec:
        """Return the options of the model; the rate suits the batch, which changes little with the amount of text."""
        training = TrainingSpec(
            epochs=self.epochs,
            batch=16,
            learning_rate=4e-3,
            evaluations=8,
            seed=seed,
        )
        return TaggingSpec(
            labels=TAGS,
            kind="lstm",
            layers=1,
            hidden=self.hidden,
            embedding=128,
            dropout=0.2,
            training=training,
        )


class EmbeddingConfig(Section):
    """Settings of word vectors that are fitted on a run's token streams.

    Attributes:
        vocabulary: Name of the vocabulary whose entries get vectors.
        kind: "skipgram" predicts each word from each word of its window, "cbow" from the mean of all of them (Mikolov
            et al. 2013).
        dimensions: Numbers in a vector.
        window: Largest number of words on each side of the predicted one; the number is drawn for each word.
        epochs: Passes over the training reviews.
        min_count: Words seen less often get no vector.
    """

    negatives: ClassVar = 5
    """Noise words drawn for each predicted word."""
    threads: ClassVar = 1
    """One, so that the same text, settings and seed give the same vectors."""

    vocabulary: Name = "word"
    kind: Literal["skipgram", "cbow"] = "skipgram"
    dimensions: Annotated[Whole, Field(ge=1, le=10_000)] = 100
    window: Annotated[Whole, Field(ge=1, le=100)] = 5
    epochs: Annotated[Whole, Field(ge=1, le=10_000)] = 5
    min_count: Count = 5


class SweepConfig(Section):
    """Settings of a search for better options of one model, judged on the validation split.

    A trial whose validation loss is above the median of the trials before it is pruned, once `random_trials` trials
    have finished.

    Attributes:
        model: Name of the model; may be empty if there is only one neural model.
        space: Range of each option: `"128..512"`, `"1e-4..1e-2:log"`, `"128..512:64"` (in steps), or `"adamw|sgd"`
            (choices). Options of a section are named `training.learning_rate` or written in their own table.
        trials: Trials in all.
        random_trials: The first of them, drawn at random; the others by a tree-structured Parzen estimator.
        prune_after: Number of the evaluation from which on trials are pruned.
        seeds: New seeds that the best trial is fitted again with; 0: none.
        seed: Seed of the search.
    """

    model: str = ""
    space: dict[str, Any] = Field(default_factory=dict)
    trials: Annotated[Whole, Field(ge=1, le=1_000_000)] = 20
    random_trials: Count = 6
    prune_after: Count = 2
    seeds: Annotated[Whole, Field(ge=0, le=MOST_WHOLE)] = 3
    seed: Seed = 1

    @field_validator("space")
    @classmethod
    def _numbers_of_usable_size(cls, value: dict[str, Any]) -> dict[str, Any]:
        require_numbers("space", value)
        return value

    @field_validator("seeds")
    @classmethod
    def _enough_for_an_interval(cls, value: int) -> int:
        if value == 1:
            raise ValueError("one seed gives no interval; seeds must be 0 (none) or at least 2")
        return value
