"""The gate's policy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from reviewlm.section import Section

FORBIDDEN = "'\"`/\\:@"  # in the name of a registered model


def _none(value: Any) -> Any:
    """TOML has no null: "none" switches a limit off."""
    return None if value == "none" else value


def _model_name(name: str) -> str:
    """MLflow's filters quote a name and know no escape; a name is part of an address, and of a path on this disk."""
    unfit = sorted({sign for sign in name if sign in FORBIDDEN or not sign.isprintable()})
    if unfit:
        raise ValueError(f"a name of a registered model must not contain {' '.join(map(repr, unfit))}")
    if not name.strip(" ."):
        raise ValueError("a registered model needs a name")
    return name


Limit = Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(_none)]
"""A number, or "none": then the rule decides nothing, but what was measured is shown all the same."""

SliceDimension = Literal["stars", "length", "month", "category"]


class PromotionConfig(Section):
    """The gate's policy: a challenger must beat the champion on the same frozen test reviews, in bits per byte.

    Which field belongs to which rule, and why its default is what it is, says docs/promotion.md. A limit that is a
    number asks for its evidence: where that is missing, the rule has failed.

    Attributes:
        model_name: Of the registered model; without quotes, slashes, colons and @.
        rescore: Score both models anew at the gate, from the bundles as they are registered now. Otherwise scores of
            the same bundle on the same tokens are taken from the store, their files held against their SHA-256.
        replace_lost_champion: Let a challenger pass where the champion's bundle is gone or damaged, as if there were
            no champion; otherwise nothing is promoted until a champion is there that can be measured.
        min_relative_gain: What share of the champion's bits must be saved, and surely so.
        confidence: Of the two-sided interval of the gain: an equal model passes with probability (1 − confidence) / 2.
        min_gain_over_baseline: The same for the baseline, without an interval.
        min_test_reviews: Fewer decide nothing; a single one, of which all draws are the same, never does.
        max_slice_loss: Share by which no slice may be worse, unless chance alone may have done it.
        slice_dimensions: What the test reviews are cut by.
        min_slice_reviews: A slice with fewer is not looked at.
        allow_other_reading: Let a challenger pass that models less of the text than the champion (it folds case, or the
            section `clean` has changed), for which the figures do not charge it.
        require_leak_certificate: Whether the prepared data must be certified to have no leak.
        min_novelty: Least share of new 8-grams in what the model writes, relative to that of real reviews.
        max_copied_span: Longest passage copied from training, in words, unless real reviews have longer ones.
        max_exposure: Of a planted canary, in bits (Carlini et al. 2019).
        max_private_patterns: Passages in samples that look like personal data, on top of those of real reviews.
        max_latency_ms: Within it 95 % of the suggestions must come, in the process of the smoke test.
        max_megabytes: Of the bundle, in millions of bytes.
    """

    model_name: Annotated[str, AfterValidator(_model_name)] = "reviewlm"
    rescore: bool = True
    replace_lost_champion: bool = False
    min_relative_gain: Annotated[float, Field(ge=0, lt=1)] = 0.0
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    min_gain_over_baseline: Annotated[float, Field(ge=0, lt=1)] = 0.0
    min_test_reviews: Annotated[int, Field(ge=2)] = 30
    max_slice_loss: Limit = 0.05
    slice_dimensions: tuple[SliceDimension, ...] = ("stars", "length", "month", "category")
    min_slice_reviews: Annotated[int, Field(ge=2)] = 30
    allow_other_reading: bool = False
    require_leak_certificate: bool = True
    min_novelty: Annotated[Annotated[float, Field(ge=0, le=1)] | None, BeforeValidator(_none)] = 0.5
    max_copied_span: Limit = 50
    max_exposure: Limit = None
    max_private_patterns: Limit = 10
    max_latency_ms: Limit = 1_000.0
    max_megabytes: Limit = None
