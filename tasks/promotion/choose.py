"""Choose the challenger of a run: the best model on validation of those that the gate need not refuse anyway."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from reviewlm.core.config.sections.evaluation import PromotionConfig
from reviewlm.core.errors import BundleError, Damaged, converted_errors
from reviewlm.core.workspace import Workspace
from reviewlm.evaluation.gate.language import adaptation_wanted, unwanted_adaptation
from reviewlm.models.specs import MixtureSpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.tasks.data.prepare import VOCABULARY_FILE, Prepared
from reviewlm.tasks.evaluation.evaluate import Measured, figures_of_artifact, megabytes
from reviewlm.tasks.evaluation.intervals import Evaluated
from reviewlm.tasks.execution.stage import stage_task
from reviewlm.tasks.promotion.ancestry import look_back
from reviewlm.tasks.records.track import registry_of, tracking_was_away
from reviewlm.tracking.registry.versions import CHAMPION

log = logging.getLogger(__name__)


@stage_task("choose challenger", retry_if=tracking_was_away)
def choose_challenger(
    workspace: Workspace,
    promotion: PromotionConfig,
    prepared: Prepared,
    evaluated: Evaluated,
) -> Measured:
    """Return the model with the fewest open bits per byte on the validation split; test scores are not used.

    Pass over models that the gate must refuse regardless of test scores, and mixtures that save too little. If the gate must
    refuse all models, return the best one; it then gives the reasons.

    Raises:
        TrackingUnavailable: The registry does not answer, so the champion is unknown.
    """
    ranked = ranking(evaluated)
    allowed = allowed_models(promotion, evaluated)
    other = ", ".join(f"'{model.name}'" for model in ranked if model not in allowed)
    if other:
        wanted = adaptation_wanted(promotion.adaptation)
        log.info("passed over: %s; %s", other, wanted)

    champion = _champions_form(workspace, promotion)
    for model in allowed:
        reason = why_skipped(
            promotion,
            workspace.home,
            prepared,
            evaluated,
            model,
            champion,
        )
        if not reason:
            rank = ranked.index(model) + 1
            log.info(
                "challenger is '%s', place %d of %d on validation", model.name, rank, len(ranked)
            )
            return model
        log.info("'%s' is passed over: %s", model.name, reason)

    log.warning(
        "challenger is '%s', the best of %d models on validation, although none can pass; the gate's reasons follow",
        ranked[0].name,
        len(ranked),
    )
    return ranked[0]


def ranking(evaluated: Evaluated) -> list[Measured]:
    """Return the models of a run ordered by open bits per byte on validation, best first, infinite figures last."""

    def order(model: Measured) -> tuple[bool, float]:
        bits = _validation_bits(model)
        return not isfinite(bits), bits

    return sorted(evaluated.models, key=order)


def allowed_models(promotion: PromotionConfig, evaluated: Evaluated) -> list[Measured]:
    """Return the models that adapt as the policy wants, ordered as by `ranking`."""
    adaptation = promotion.adaptation
    return [
        model
        for model in ranking(evaluated)
        if not unwanted_adaptation(model.test.facts["adaptation"], adaptation)
    ]


def why_skipped(
    promotion: PromotionConfig,
    home: Path,
    prepared: Prepared,
    evaluated: Evaluated,
    model: Measured,
    champion: NormalForm | None,
) -> str:
    """Return why a model should not be the challenger; empty if it may: see `reasons_to_refuse` and `min_mixture_gain`."""
    reason = reasons_to_refuse(
        promotion,
        home,
        prepared,
        model,
        champion,
    )
    if reason:
        return reason

    spec = model.fitted.spec
    if isinstance(spec, MixtureSpec):
        part = next(one for one in ranking(evaluated) if one.name in spec.parts)
        gain = 1 - _validation_bits(model) / _validation_bits(part)
        least = promotion.min_mixture_gain
        if gain < least:
            asked = f"two models together must save {least:.2%} (promotion.min_mixture_gain)"
            return f"it saves only {gain:.2%} of the bits of its part '{part.name}'; {asked}"

    return ""


def _validation_bits(model: Measured) -> float:
    return figures_of_artifact(model.validation).open_bits_per_byte


def reasons_to_refuse(
    promotion: PromotionConfig,
    home: Path,
    prepared: Prepared,
    model: Measured,
    champion: NormalForm | None,
) -> str:
    """Return why the gate must refuse a model regardless of its test scores; empty if there is no such reason."""
    policy = promotion
    bundle = model.fitted.bundle
    reasons = [unwanted_adaptation(model.test.facts["adaptation"], policy.adaptation)]
    if not policy.allow_other_reading:
        with converted_errors(bundle):
            reasons.append(unfair_because(bundle, champion))

    if policy.max_megabytes is not None:
        size = megabytes(bundle)
        if size > policy.max_megabytes:
            limit = f"at most {policy.max_megabytes:g} are allowed"
            reasons.append(f"its bundle has {size:.1f} MB, {limit}")

    past = look_back(home, prepared.clean, bundle)
    if not past.free:
        reasons.append(past.detail)

    return "; ".join(reason for reason in reasons if reason)


def passed_over(
    promotion: PromotionConfig,
    home: Path,
    prepared: Prepared,
    evaluated: Evaluated,
    challenger: Measured,
    champion: NormalForm | None,
    refused: Mapping[str, str],
) -> tuple[str, ...]:
    """Return a sentence about each model that is better on validation than the challenger but was passed over.

    Args:
        refused: By name, why the gate refused models that were tried before in this run.
    """
    ranked = ranking(evaluated)
    better = ranked[: [model.name for model in ranked].index(challenger.name)]
    reasons = {
        model.name: refused.get(model.name)
        or why_skipped(
            promotion,
            home,
            prepared,
            evaluated,
            model,
            champion,
        )
        for model in better
    }
    then = "the champion at the time of the choice ruled it out"
    return tuple(f"{_beginning(name)}{why or then}" for name, why in reasons.items())


def _beginning(model: str) -> str:
    return f"'{model}', better on validation: "


def why_passed_over(model: str, sentences: Sequence[str]) -> str:
    """Return why a model was passed over, from the sentences of `passed_over`; "" if it was not."""
    beginning = _beginning(model)
    for sentence in sentences:
        if sentence.startswith(beginning):
            return sentence.removeprefix(beginning)

    return ""


def _champions_form(workspace: Workspace, promotion: PromotionConfig) -> NormalForm | None:
    """Return the champion's normal form of texts; None without one that can be read (the gate reports why)."""
    registry = registry_of(workspace, promotion.model_name)
    version = registry.alias(CHAMPION)
    if version is None:
        return None

    try:
        folder = registry.bundle_folder(version)
        with converted_errors(folder):
            return Vocabulary.load(folder / VOCABULARY_FILE).normal_form
    except (BundleError, Damaged):
        return None


def unfair_because(challenger: Path, champion: NormalForm | None) -> str:
    """Return why the challenger has an advantage that its figures do not pay for; empty if it has none.

    Args:
        challenger: Folder of its bundle.
        champion: The champion's normal form of texts.
    """
    if champion is None:
        return ""
    if champion == Vocabulary.load(challenger / VOCABULARY_FILE).normal_form:
        return ""
    return "the section 'clean' has changed: the champion was trained on text that was cleaned in another way"
