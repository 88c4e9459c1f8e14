"""Predict the challenger's test reviews with the registered champion, and the champion's own with both."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from core.config.run_config import RunConfig
from core.errors import BundleError, Damaged, InputError
from core.lineage.family import Family
from core.model_errors import converted_errors
from core.store import Artifact
from corpus.splitting.certificate import reviews_digest
from corpus.splitting.unlearnt import TEST
from evaluation.classification.predicted import Predicted
from evaluation.gate.classification import ClassifierCase
from evaluation.gate.evidence import ChampionReviews, ModelEvidence
from models.classification.bundle import load_classifier
from tasks.classification.compare import MeasuredClassifier, predicted
from tasks.classification.field_labels import labels_of_prepared
from tasks.classification.predict import predict_bundle, predictions_of
from tasks.data.documents import documents_of
from tasks.data.prepare import Prepared
from tasks.fitting.fit import bundle_digest
from tasks.promotion.champion_reviews import data_of, find_own_reviews, not_tried, tests_of
from tasks.promotion.score_now import lost_champion, require_registered
from tasks.stage import stage, store_of
from tasks.track import registry_of, tracking_was_away
from tracking import tags as tag
from tracking.registry.registry import CHAMPION, Version

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChampionClassifier:
    """Registered champion with its answers to the challenger's test reviews; with a problem it has no folder.

    `data` is the digest of the prepared data that it was trained on.
    """

    version: int
    answered: ModelEvidence[Predicted]
    folder: Path | None = None
    data: str = ""


@stage("answers of the champion", retry_if=tracking_was_away)
def answer_champion(config: RunConfig, prepared: Prepared, challenger: MeasuredClassifier) -> ChampionClassifier | None:
    """Let the registered champion answer the test reviews of this run; return None if there is no champion.

    A lost or damaged bundle is not an error here: it is returned as a problem, and the gate gives the remedy. A
    champion of other labels is whole, but it has no answers to these reviews.
    """
    version: Version | None = registry_of(config).alias(CHAMPION)
    if version is None:
        return None
    try:
        return _answered(config, prepared, challenger, version)
    except (BundleError, Damaged) as error:
        return ChampionClassifier(version.version, ModelEvidence(**lost_champion(config, version, "answer", error)))


def _answered(
    config: RunConfig, prepared: Prepared, challenger: MeasuredClassifier, version: Version
) -> ChampionClassifier:
    folder = registry_of(config).bundle_folder(version)
    digest = require_registered(folder, version.tags.get(tag.BUNDLE_TAG, ""))
    with converted_errors(folder):
        bundle = load_classifier(folder)  # checks every file and the probe texts
    labels, ours, asked = bundle.labels, challenger.fitted.spec.labels, config.classification.label
    rows, problem = None, ""
    if (predicts := bundle.facts.get("label", asked)) != asked and labels == ours:
        remedy = ClassifierCase.OTHER_NAME
        labels, problem = (), f"the champion predicts '{predicts}', and the challenger '{asked}'; {remedy}"
    elif set(labels) <= set(ours):
        name = f"champion v{version.version}"
        if new := [label for label in ours if label not in labels]:
            unknown = ", ".join(map(repr, new))
            log.warning("%s was not trained on these labels, so it is wrong on their reviews: %s", name, unknown)
        answers = predict_bundle(
            config, folder, prepared.clean, TEST, name, prepared.labels, ours if new else ()
        ).artifact
        labels = ours
        rows = checked_answers(config, labels, answers, prepared.clean)
    family, name = Family.of_tags(version.tags), f"version {version.version}"
    test = reviews_digest(tests_of(prepared.clean))
    answered = ModelEvidence(digest, rows, test, problem, family, name=name, labels=labels)
    return ChampionClassifier(version.version, answered, folder, data_of(folder, version.tags.get(tag.DATA_TAG, "")))


def answer_champion_reviews(
    config: RunConfig, prepared: Prepared, challenger: MeasuredClassifier, champion: ChampionClassifier | None,
    version: int | None,
) -> ChampionReviews[Predicted] | None:  # fmt: skip
    """Let both answer the test reviews of the champion's data, without those that the challenger has learnt from.

    Return None if the rule does not apply: there is no champion that can answer, it has other labels, it is the
    challenger itself, or the policy sets no limit.
    """
    policy, bundle = config.classification.promotion, challenger.fitted.bundle
    if champion is None or champion.folder is None or champion.answered.rows is None:
        return None
    if version is None or policy.max_champion_loss is None or champion.answered.digest == bundle_digest(bundle):
        return None
    own = find_own_reviews(
        config, prepared.clean, bundle, champion.version, champion.data, "classification.promotion",
        policy.champion_reviews,
    )  # fmt: skip
    if isinstance(own, ChampionReviews):
        return own
    found: list[Predicted] = []
    try:
        labels = labels_of_prepared(config, own.earlier)
        for who, folder in (("challenger", bundle), ("champion", champion.folder)):
            label, names = f"{who} on the champion's reviews", challenger.fitted.spec.labels if labels else ()
            answers = predict_bundle(config, folder, own.chosen, TEST, label, labels, names).artifact
            if not answers.facts["reviews"]:
                return ChampionReviews(*own.counts)
            found.append(checked_answers(config, champion.answered.labels, answers, own.earlier))
    except (BundleError, Damaged, InputError) as error:  # of a field: the old files may be gone
        return ChampionReviews(*own.counts, problem=not_tried(error))
    return ChampionReviews(*own.counts, challenger=found[0], champion=found[1])


def checked_answers(config: RunConfig, labels: tuple[str, ...], answers: Artifact, clean: Artifact) -> Predicted:
    """Return stored answers with the groups of their reviews, after their files are checked against their SHA-256.

    Args:
        config: Locates the store.
        labels: Of the classifier.
        answers: Result of `predict_bundle`.

    Raises:
        Damaged: The answers have changed since they were stored.
    """
    store_of(config).verify(answers)
    return predicted(labels, predictions_of(answers), documents_of(clean))
