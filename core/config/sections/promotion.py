"""The gate's policy."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from core.config.section import Section
from models.specs import require_name

OWN_MODEL = "reviewlm"
"""Registered model that runs belong to unless a preset or a setting names another one."""
DEMO_MODEL = "reviewlm-demo"
"""Registered model of the presets for the embedded corpus; no model of a user's files is registered under it."""


def _none(value: Any) -> Any:
    """TOML has no null: "none" switches a limit off."""
    return None if value == "none" else value


RegisteredName = Annotated[str, AfterValidator(partial(require_name, field="the name of the registered model"))]
Limit = Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_none)]
"""A number, or "none": then the rule decides nothing, but what was measured is shown all the same."""

Adaptation = Literal["static", "cache", "continuous cache", "dynamic evaluation", "any"]
"""How a challenger may adapt; what a class says of itself in its attribute `adaptation` (`models/adaptation.py`)."""

SliceDimension = Literal["stars", "length", "month", "category"]


class PromotionConfig(Section):
    """The gate's policy: a challenger must beat the champion on the same frozen test reviews, in bits per byte.

    Which field belongs to which rule, and why its default is what it is, says docs/promotion.md. A limit that is a
    number asks for its evidence: where that is missing, the rule has failed.

    Attributes:
        model_name: Of the registered model; without quotes, slashes, colons and @. "reviewlm-demo" is kept for the
            embedded corpus: with files as input it is read as "reviewlm".
        rescore: Score both models anew at the gate, from the bundles as they are registered now. Otherwise scores of
            the same bundle on the same tokens are taken from the store, their files held against their SHA-256.
        replace_lost_champion: Let a challenger pass where the champion's bundle is gone or damaged, as if there were
            no champion; otherwise nothing is promoted until a champion is there that can be measured.
        min_relative_gain: What share of the champion's bits must be saved, and surely so.
        confidence: Of the two-sided interval of the gain: an equal model passes with probability (1 − confidence) / 2.
        max_review_loss: How much worse the challenger may be on reviews unlike those in the test set, as a share of the
            other model's bits: 1 is twice the bits. An equal model passes no more often than stated while no group of
            reviews is worse than that; a smaller number asks for fewer test reviews and takes more on trust.
        min_gain_over_baseline: What share of the baseline's bits must be saved, and surely so.
        min_test_reviews: Fewer independent groups of test reviews decide nothing.
        max_slice_loss: Share by which no slice may be worse, unless chance alone may have done it.
        slice_dimensions: What the test reviews are cut by.
        min_slice_reviews: A slice with fewer is not looked at.
        adaptation: Which models may be challenger: "static" ones, those that adapt to the review they are measured on
            in the way named ("cache", "continuous cache", "dynamic evaluation"), or "any".
        allow_other_family: Let a challenger pass whose data are of another family than the champion's
            (`source.family`), or where the champion's family is not known.
        max_champion_loss: Share by which the challenger may surely be worse than the champion on the champion's own
            test reviews.
        champion_reviews: Most of those reviews that are scored; of more so many are drawn.
        allow_other_reading: Let a challenger pass that models less of the text than the champion (it folds case, or the
            section `clean` has changed), for which the figures do not charge it.
        require_leak_certificate: Whether the prepared data must be certified to have no leak.
        min_novelty: Least share of new 8-grams in what the model writes, relative to that of real reviews.
        max_copied_span: Longest passage copied from training, in words, unless real reviews have longer ones.
        max_exposure: Of a planted canary, in bits (Carlini et al. 2019): a number is the most that any canary of any
            model may have; "auto" judges networks alone, by the mean of what was planted once (docs/memorisation.md).
        max_private_patterns: Passages in samples that look like personal data, on top of those of real reviews.
        max_latency_ms: Within it 95 % of the suggestions must come, in the process of the smoke test.
        max_megabytes: Of the bundle, in millions of bytes.
    """

    model_name: RegisteredName = OWN_MODEL
    rescore: bool = True
    replace_lost_champion: bool = False
    min_relative_gain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    max_review_loss: Annotated[float, Field(ge=0, le=10)] = 1.0
    min_gain_over_baseline: Annotated[float, Field(ge=0, lt=1)] = 0.0
    min_test_reviews: Annotated[int, Field(ge=2)] = 30
    max_slice_loss: Limit = 0.05
    slice_dimensions: tuple[SliceDimension, ...] = ("stars", "length", "month", "category")
    min_slice_reviews: Annotated[int, Field(ge=2)] = 30
    adaptation: Adaptation = "static"
    allow_other_family: bool = False
    max_champion_loss: Limit = 0.01
    champion_reviews: Annotated[int, Field(ge=100)] = 5_000
    allow_other_reading: bool = False
    require_leak_certificate: bool = True
    min_novelty: Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_none)] = 0.5
    max_copied_span: Limit = 50
    max_exposure: Limit | Literal["auto"] = "auto"
    max_private_patterns: Limit = 10
    max_latency_ms: Limit = 1_000.0
    max_megabytes: Limit = None
