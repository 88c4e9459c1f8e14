"""Measure classifiers for the gate: their answers to held-out reviews."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from core.config.run_config import RunConfig
from core.config.sections.evaluation import GatePolicy
from core.config.sections.other_models import ClassificationPromotion
from core.store import Artifact
from corpus.splitting.certificate import reviews_digest
from corpus.splitting.learnt import TEST
from evaluation.classification.figures import Predicted
from evaluation.gate.case import ModelEvidence
from evaluation.gate.classification import ClassifierCase
from models.classification.bundle import load_classifier
from tasks.classification.compare import Compared, MeasuredClassifier, predicted
from tasks.classification.field_labels import labels_of_prepared
from tasks.classification.predict import predict_bundle, predictions_of
from tasks.data.documents import documents_of
from tasks.data.prepare import Prepared
from tasks.family import ModelFamily, Scored
from tasks.fitting.fit import bundle_digest
from tasks.promotion.champion import tests_of
from tasks.stage import store_of
from tracking.logged_models.export import CLASSIFIER

log = logging.getLogger(__name__)


def answers_of(config: RunConfig, labels: tuple[str, ...], artifact: Artifact, clean: Artifact) -> Predicted:
    """Return stored answers of a classifier with these labels, with the groups of the reviews of *clean*.

    Raises:
        Damaged: They have changed since they were stored.
    """
    store_of(config).verify(artifact)
    return predicted(labels, predictions_of(artifact), documents_of(clean))


class Classifiers(ModelFamily):
    """Classifiers of reviews."""

    case, form = ClassifierCase, CLASSIFIER

    def policy(self, config: RunConfig) -> ClassificationPromotion:
        """See `ModelFamily`."""
        shared = config.promotion.model_dump(include=set(GatePolicy.model_fields))
        return ClassificationPromotion(**shared | config.classification.promotion.model_dump())

    def stored(self, config: RunConfig, prepared: Prepared, model: MeasuredClassifier) -> Scored:
        """See `ModelFamily`."""
        labels, test = model.fitted.spec.labels, reviews_digest(tests_of(prepared.clean))
        return Scored(partial(answers_of, config, labels, model.test, prepared.clean), test, labels=labels)

    def score_registered(
        self, config: RunConfig, prepared: Prepared, challenger: MeasuredClassifier, folder: Path, label: str,
        stored: Scored,
    ) -> Scored:  # fmt: skip
        """See `ModelFamily`; the registered copy of the bundle that has answered only has to open."""
        load_classifier(folder)
        return stored

    def score_champion(
        self, config: RunConfig, prepared: Prepared, challenger: MeasuredClassifier, folder: Path, label: str
    ) -> Scored:
        """See `ModelFamily`; a champion of other labels is whole, but it has no answers to these reviews."""
        bundle = load_classifier(folder)  # checks every file and the probe texts
        labels, ours, own_label = bundle.labels, challenger.fitted.spec.labels, config.classification.label
        test = reviews_digest(tests_of(prepared.clean))
        if (predicts := bundle.facts.get("label", own_label)) != own_label and labels == ours:
            other = f"the champion predicts '{predicts}', and the challenger '{own_label}'; {ClassifierCase.OTHER_NAME}"
            return Scored(test=test, problem=other)
        if not set(labels) <= set(ours):
            return Scored(test=test, labels=labels)
        if new := [one for one in ours if one not in labels]:
            unknown = ", ".join(map(repr, new))
            log.warning("%s was not trained on these labels, so it is wrong on their reviews: %s", label, unknown)
        names = ours if new else ()
        answers = predict_bundle(config, folder, prepared.clean, TEST, label, prepared.labels, names).artifact
        return Scored(partial(answers_of, config, ours, answers, prepared.clean), test, labels=ours)

    def score_own_reviews(
        self, config: RunConfig, prepared: Prepared, chosen: Artifact, earlier: Artifact, scored: tuple[Scored, Scored],
        folders: Mapping[str, Path],
    ) -> tuple[Predicted, Predicted] | None:  # fmt: skip
        """See `ModelFamily`."""
        labels, names = labels_of_prepared(config, earlier), scored[0].labels
        predictions: list[Predicted] = []
        for who in ("challenger", "champion"):
            label = f"{who} on the champion's reviews"
            built = predict_bundle(config, folders[who], chosen, TEST, label, labels, names if labels else ())
            answers = built.artifact
            if not answers.facts["reviews"]:
                return None
            predictions.append(answers_of(config, names, answers, earlier))
        return predictions[0], predictions[1]

    def baseline(
        self, config: RunConfig, prepared: Prepared, evaluated: Compared, challenger: MeasuredClassifier
    ) -> ModelEvidence[Predicted]:
        """See `ModelFamily`: the configured baseline."""
        base = evaluated.named(config.classification.baseline)
        return self.stored(config, prepared, base).evidence(bundle_digest(base.fitted.bundle), name=base.name)


def choose(compared: Compared) -> MeasuredClassifier:
    """Return the classifier with the best macro-F1 on the validation reviews; the test reviews have no say."""
    challenger = max(compared.models, key=lambda model: compared.validation[model.name]["macro_f1"] or 0.0)
    log.info("challenger is '%s', the classifier with the best macro-F1 on validation", challenger.name)
    return challenger
