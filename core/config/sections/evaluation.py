"""Define the settings of a model's evaluation, of the audit of its texts, and the policy of the gate."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from reviewlm.core.config.section import Section
from reviewlm.models.options import (
    MOST_WHOLE,
    NotNegative,
    Number,
    OrNone,
    Share,
    ShareBelowOne,
    Whole,
)
from reviewlm.models.specs import require_name

Copies = Annotated[Whole, Field(ge=1, le=1_000_000)]
OWN_MODEL = "reviewlm"
"""Default registered model of a run."""
DEMO_MODEL = "reviewlm-demo"
"""Registered model of the presets for the embedded corpus; never used for models of a user's files."""


class EvaluationConfig(Section):
    """Settings of a model's measurements and of the samples drawn from it.

    Attributes:
        resamples: Number of bootstrap draws for each interval.
        confidence: Level of the intervals.
        min_slice_reviews: Slices with fewer reviews are skipped.
        observed_reviews: Number of test reviews whose tokens are analysed one by one; the same for every model.
        max_tokens: Longest review written, in tokens.
    """

    seed: ClassVar = 1
    """Seed of bootstrap and samples: the same for all models, so that they differ by nothing else."""

    resamples: Annotated[Whole, Field(ge=100, le=1_000_000)] = 10_000
    confidence: Annotated[Number, Field(gt=0.5, lt=1)] = 0.95
    min_slice_reviews: Annotated[Whole, Field(ge=5, le=MOST_WHOLE)] = 30
    observed_reviews: Annotated[Whole, Field(ge=1, le=1_000_000)] = 200
    max_tokens: Annotated[Whole, Field(ge=1, le=1_000_000)] = 200

    @property
    def bootstrap(self) -> dict[str, Any]:
        """Options of every interval by a bootstrap: confidence, number and seed of its draws."""
        return {
            "confidence": self.confidence,
            "resamples": self.resamples,
            "seed": self.seed,
        }


class AuditConfig(Section):
    """Settings of the texts a model writes for its audit, and of the canaries hidden in its training text.

    Attributes:
        samples: Number of reviews that each model writes.
        max_words: Longest such review, in words.
        canaries: Number of canaries planted in the training text.
        copies: How often canaries are planted: the i-th canary as often as the i-th number says; the list is repeated.
        candidates: Number of random sentences, never planted, among which canaries are ranked for their exposure.
    """

    seed: ClassVar = 1
    """Seed of samples, canaries and candidates."""
    max_canary_share: ClassVar = 0.005
    """Largest share of the training reviews that canaries may be; one always may."""

    samples: Annotated[Whole, Field(ge=10, le=1_000_000)] = 1_000
    max_words: Annotated[Whole, Field(ge=10, le=100_000)] = 200
    canaries: Annotated[Whole, Field(ge=0, le=1_000_000)] = 0
    copies: Annotated[tuple[Copies, ...], Field(min_length=1)] = (1,)
    candidates: Annotated[Whole, Field(ge=100, le=10_000_000)] = 10_000


def demo_of(name: str) -> str:
    """Return the name that the demo's presets use where a run registers *name*; "" for a name of the user's own."""
    is_users = name == OWN_MODEL or name.startswith(f"{OWN_MODEL}-")
    if is_users and not name.startswith(DEMO_MODEL):
        return DEMO_MODEL + name.removeprefix(OWN_MODEL)
    return ""


RegisteredName = Annotated[
    str, AfterValidator(partial(require_name, label="the name of the registered model"))
]
Limit = Annotated[NotNegative | None, OrNone]
"""A number, or "none": then the rule does not apply, but its measured value is shown."""

Adaptation = Literal["static", "cache", "continuous cache", "any"]
"""Allowed adaptation of a challenger: the value of the model class's attribute `adaptation`
(`models/base.py`)."""

SliceDimension = Literal["stars", "length", "month", "category"]


class GatePolicy(Section):
    """Policy that the gates of all kinds of models share.

    Attributes:
        replace_lost_champion: Let a challenger pass if the champion's bundle is gone or damaged, as if there were no
            champion. Otherwise nothing is promoted until there is a champion that can be measured.
        allow_other_family: Let a challenger pass if its data belong to another family than the champion's
            (`source.family`), or if the champion's family is not known.
        allow_rolled_back: Let a challenger pass although somebody has rolled back from a version of the same fit.
        max_champion_loss: Largest loss against the champion on the champion's own test reviews, if these are other
            reviews. The rule fails if the whole confidence interval of the loss is above it.
        confidence: Level of the two-sided intervals: an equal model passes with probability (1 − confidence) / 2.
        min_test_reviews: Minimum number of independent groups of test reviews; fewer decide nothing.
        max_slice_loss: Largest loss on a slice. A larger loss counts only if it is statistically significant.
        min_slice_reviews: Minimum number of reviews of a slice; smaller slices are skipped.
        max_latency_ms: Time within which 95 % of the answers of the smoke test must arrive, one at a time.
        max_megabytes: Maximum size of the bundle, in millions of bytes.
    """

    champion_reviews: ClassVar = 5_000
    """Maximum number of the champion's own test reviews that are measured; if there are more, this number is drawn."""

    replace_lost_champion: bool = False
    allow_other_family: bool = False
    allow_rolled_back: bool = False
    max_champion_loss: Limit = 0.01
    confidence: Annotated[Number, Field(gt=0.5, lt=1)] = 0.95
    min_test_reviews: Annotated[Whole, Field(ge=2, le=MOST_WHOLE)] = 30
    max_slice_loss: Limit = 0.05
    min_slice_reviews: Annotated[Whole, Field(ge=2, le=MOST_WHOLE)] = 30
    max_latency_ms: Limit = 1_000.0
    max_megabytes: Limit = None


class PromotionConfig(GatePolicy):
    """Policy of the gate: a challenger must beat the champion on the same frozen test reviews, in bits per byte.

    docs/concepts/registry/promotion.md lists the rule of each field and the reason for its default. A limit that is a
    number requires its evidence: if that is missing, the rule fails.

    Attributes:
        model_name: Name of the registered model, without quotes, slashes, colons and @. "reviewlm-demo" is reserved for
            the embedded corpus: with files as input, it is read as "reviewlm", and "reviewlm" without as
            "reviewlm-demo".
        min_relative_gain: Minimum gain over the champion, as a share of the champion's bits. The lower end of the
            confidence interval must be above it.
        confidence: Level of the two-sided interval of the gain: an equal model passes with probability (1 − confidence)
            / 2.
        max_review_loss: How much worse the challenger may be on reviews unlike those in the test set, as a share of the
            other model's bits: 1 means twice the bits. As long as no kind of reviews is worse than that, an equal
            model passes no more often than stated. A smaller number needs fewer test reviews but relies more on this
            assumption.
        min_gain_over_baseline: Minimum gain over the baseline, as a share of the baseline's bits. Of a first champion the
            lower end of the confidence interval must be above it, of its successors only the upper end.
        max_slice_loss: Largest share by which a slice may be worse. A larger loss counts only if it is statistically
            significant.
        slice_dimensions: Dimensions by which the test reviews are divided into slices.
        adaptation: Which models may be challenger: "static" ones, those that adapt to the review they are measured on
            in the way named ("cache", "continuous cache"), or "any".
        min_mixture_gain: Share of open bits per byte that a mixture must save on validation against its best part to be
            challenger instead of it: a mixture is larger, slower, and remembers what each of its parts does.
        max_champion_loss: Largest share by which the challenger may be worse than the champion on the champion's own
            test reviews. The rule fails if the whole confidence interval of the loss is above it.
        allow_other_reading: Let a challenger pass although the section `clean` has changed since the champion: it may
            have to model less of the text, and the figures do not charge it for the rest.
        min_novelty: Minimum share of new passages of 8 words in generated text, as a share of that of real reviews: at
            0.5, a model whose real reviews have 90 % must write 45 %.
        max_copied_span: Longest passage copied from training, in words, unless real reviews have longer ones.
        max_exposure: Exposure of a planted canary, in bits (Carlini et al. 2019). A number is the maximum for any
            canary. "auto" lets a model know at most two of ten canaries by heart, and refuses n-gram models, also as
            parts, that hold n-grams of single reviews (docs/concepts/evaluation/memorisation.md).
        max_private_patterns: Maximum number of passages in samples that look like personal data, beyond those of real
            reviews.
    """

    model_name: RegisteredName = OWN_MODEL
    min_relative_gain: ShareBelowOne = 0.0
    max_review_loss: Annotated[Number, Field(ge=0, le=10)] = 1.0
    min_gain_over_baseline: ShareBelowOne = 0.0
    slice_dimensions: tuple[SliceDimension, ...] = ("stars", "length", "month", "category")
    adaptation: Adaptation = "static"
    min_mixture_gain: ShareBelowOne = 0.01
    allow_other_reading: bool = False
    min_novelty: Annotated[Share | None, OrNone] = 0.5
    max_copied_span: Limit = 50
    max_exposure: Limit | Literal["auto"] = "auto"
    max_private_patterns: Limit = 10
