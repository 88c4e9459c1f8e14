"""Measure classifiers for the gate: their answers to held-out reviews."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from reviewlm.core.config.sections.evaluation import GatePolicy
from reviewlm.core.config.sections.other_models import ClassificationPromotion
from reviewlm.core.store import Artifact, Store
from reviewlm.corpus.splitting.certificate import reviews_digest
from reviewlm.corpus.splitting.learnt import TEST
from reviewlm.evaluation.classification.answers import Predicted
from reviewlm.evaluation.gate.classification import ClassifierCase
from reviewlm.evaluation.gate.evidence import ModelEvidence
from reviewlm.models.classification.bundle import load_classifier
from reviewlm.tasks.classification.compare import Compared, group_predictions
from reviewlm.tasks.classification.field_labels import labels_of_prepared
from reviewlm.tasks.classification.predict import predict_bundle, predictions_of
from reviewlm.tasks.data.documents import documents_of
from reviewlm.tasks.family import ModelFamily, Scored
from reviewlm.tasks.fitting.job import MeasuredModel
from reviewlm.tasks.promotion.champion import tests_of
from reviewlm.tracking.logged_models.export import CLASSIFIER

log = logging.getLogger(__name__)


def answers_of(
    home: Path,
    labels: tuple[str, ...],
    artifact: Artifact,
    clean: Artifact,
) -> Predicted:
    """Return stored answers of a classifier with these labels, with the groups of the reviews of *clean*.

    Raises:
        Damaged: They have changed since they were stored.
    """
    Store.of(home).verify(artifact)
    return group_predictions(labels, predictions_of(artifact), documents_of(clean))


class Classifiers(ModelFamily):
    """Classifiers of reviews."""

    case = ClassifierCase
    form = CLASSIFIER
    evaluated: Compared
    challenger: MeasuredModel

    @property
    def policy(self) -> ClassificationPromotion:
        """See `ModelFamily`."""
        shared = self.config.promotion.model_dump(include=set(GatePolicy.model_fields))
        return ClassificationPromotion(**shared | self.config.classification.promotion.model_dump())

    def load_stored(self, model: MeasuredModel) -> Scored:
        """See `ModelFamily`."""
        labels = model.fitted.spec.labels
        clean = self.prepared.clean
        rows = answers_of(self.config.home, labels, model.test, clean)
        return ModelEvidence(
            rows=rows,
            test=reviews_digest(tests_of(clean)),
            labels=labels,
        )

    def score_registered(
        self,
        folder: Path,
        label: str,
        stored: Scored,
    ) -> Scored:
        """Return the stored scores if the registered copy of the bundle opens; see `ModelFamily`."""
        load_classifier(folder)
        return stored

    def score_champion(self, folder: Path, label: str) -> Scored:
        """Let the champion answer the test reviews, unless its labels are others; see `ModelFamily`."""
        clean = self.prepared.clean
        bundle = load_classifier(folder)  # checks every file and the probe texts
        labels = bundle.labels
        ours = self.challenger.fitted.spec.labels
        own_label = self.config.classification.label
        test = reviews_digest(tests_of(clean))
        predicts = bundle.facts.get("label", own_label)
        if predicts != own_label and labels == ours:
            other = f"the champion predicts '{predicts}', and the challenger '{own_label}'; {ClassifierCase.OTHER_NAME}"
            return ModelEvidence(test=test, problem=other)
        if not set(labels) <= set(ours):
            return ModelEvidence(test=test, labels=labels)

        new = [label for label in ours if label not in labels]
        if new:
            unknown = ", ".join(map(repr, new))
            log.warning(
                "%s was not trained on these labels, so it is wrong on their reviews: %s",
                label,
                unknown,
            )

        names = ours if new else ()
        built = predict_bundle(
            self.config.workspace,
            self.config.classification,
            folder,
            clean,
            TEST,
            label,
            self.prepared.labels,
            names,
        )
        rows = answers_of(self.config.home, ours, built.artifact, clean)
        return ModelEvidence(
            rows=rows,
            test=test,
            labels=ours,
        )

    def score_champions_reviews(
        self,
        chosen: Artifact,
        earlier: Artifact,
        scored: tuple[Scored, Scored],
        folders: Mapping[str, Path],
    ) -> tuple[Predicted, Predicted] | None:
        """See `ModelFamily`."""
        config = self.config
        source = config.source
        labels = labels_of_prepared(config.workspace, source, config.classification, earlier)
        names = scored[0].labels
        predictions: list[Predicted] = []
        for who in ("challenger", "champion"):
            label = f"{who} on the champion's reviews"
            known = names if labels else ()
            built = predict_bundle(
                config.workspace,
                config.classification,
                folders[who],
                chosen,
                TEST,
                label,
                labels,
                known,
            )
            answers = built.artifact
            if not answers.facts["reviews"]:
                return None
            predictions.append(answers_of(self.config.home, names, answers, earlier))

        return predictions[0], predictions[1]

    def baseline_model(self) -> MeasuredModel:
        """See `ModelFamily`: the configured baseline."""
        return self.evaluated.model_named(self.config.classification.baseline)

    def baseline_scores(self, base: MeasuredModel) -> Scored:
        """See `ModelFamily`."""
        return self.load_stored(base)


def choose(compared: Compared) -> MeasuredModel:
    """Return the classifier with the best macro-F1 on the validation reviews; the test reviews have no say."""

    def validation_f1(model: MeasuredModel) -> float:
        return compared.validation[model.name]["macro_f1"] or 0.0

    challenger = max(compared.models, key=validation_f1)
    log.info(
        "challenger is '%s', the classifier with the best macro-F1 on validation", challenger.name
    )
    return challenger
