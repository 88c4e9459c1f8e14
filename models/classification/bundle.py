"""Save and load a classifier with everything that is needed to use it, as a folder (`bundles/sealed_folder.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..base import ModelError
from ..bundles.sealed_folder import Description, Finite, compare_probes, open_model, write_model
from ..neural.labelling.rows import Rows
from ..options import stored
from ..tokens.vocabulary import Vocabulary
from .classifier import Classifier, softmax
from .spec import CLASSIFIERS, ClassifierSpec, classifier_class, classifier_from_dict

TASK = "classification"
"""Value of "task" in the description, which tells the bundle from that of a language model."""


class Classified(NamedTuple):
    """Answers to N texts.

    Attributes:
        answers_N: Number of the label of each text (int64).
        scores_NK: Score of each label (float64); the highest is the answer's.
        probabilities_NK: Probability of each label (float64).
    """

    answers_N: np.ndarray
    scores_NK: np.ndarray
    probabilities_NK: np.ndarray

    def answer(self, labels: Sequence[str], row: int) -> dict[str, Any]:
        """Return the label of one text with its probability, and the probability of every label, as JSON values."""
        number, chances = int(self.answers_N[row]), [float(chance) for chance in self.probabilities_NK[row]]
        every = dict(zip(labels, chances, strict=True))
        return {"label": labels[number], "probability": chances[number], "probabilities": every}


@dataclass(frozen=True)
class ClassifierBundle:
    """A classifier with everything that is needed to use it.

    Args:
        spec: Its options.
        vocabulary: Its vocabulary.
        model: The classifier itself.
        facts: Facts recorded about its training (data digest, figures).
        digest: SHA-256 that identifies all of its files; empty unless it was loaded from a folder.
    """

    spec: ClassifierSpec
    vocabulary: Vocabulary
    model: Classifier
    facts: dict[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, in the order of their numbers."""
        return self.spec.labels

    def classify(self, texts: Sequence[str]) -> Classified:
        """Return the answers to texts, each first brought into normal form.

        A text without tokens gets the shares of the labels in training. Of a text longer than `classifier.LONGEST`
        tokens, a network reads only the beginning.
        """
        if not len(texts):
            nothing: np.ndarray = np.zeros((0, len(self.labels)))
            return Classified(np.zeros(0, np.int64), nothing, nothing)
        written = [self.vocabulary.normal_form.apply(text) for text in texts]
        scores_NK = self.model.scores(Rows.of(self.vocabulary.encode_batch(written)))
        return Classified(self.model.answers(scores_NK), scores_NK, softmax(scores_NK))


def save_classifier(
    folder: Path | str, spec: ClassifierSpec, vocabulary: Vocabulary, model: Classifier, probes: Sequence[str],
    facts: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write a bundle; files of the same names in the folder are replaced.

    Args:
        folder: Folder of the bundle; created if missing.
        spec: With its labels.
        vocabulary: Of the training.
        model: The classifier, which writes its own files.
        probes: Texts whose scores are computed here and again on every load.
        facts: JSON values to record.

    Raises:
        ModelError: kind "diverged": the score of a probe is not a finite number.
    """
    scores_NK = ClassifierBundle(spec, vocabulary, model).classify(probes).scores_NK
    if not np.isfinite(scores_NK).all():
        raise ModelError("the classifier's score of a probe text is not a finite number", "diverged")
    rows = [{"text": text, "scores": row} for text, row in zip(probes, scores_NK.tolist(), strict=True)]
    values = {**facts, "task": TASK, "kind": spec.kind, "spec": stored(spec), "probes": rows}
    write_model(folder, vocabulary, model, values)


class ClassifiedProbe(BaseModel):
    """A text with its scores."""

    model_config = ConfigDict(strict=True)

    text: str
    scores: list[Finite]


class ClassifierDescription(Description):
    """The description of a classifier."""

    task: Literal["classification"]
    probes: list[ClassifiedProbe]


def load_classifier(folder: Path | str, device: str = "cpu") -> ClassifierBundle:
    """Open a bundle.

    Args:
        folder: Folder that `save_classifier` wrote.
        device: Device of the model, "cpu" or "cuda".

    Raises:
        ModelError: kind "bundle": the folder is not the bundle of a classifier, it is newer than this version or
            damaged, its vocabulary is not the one of the training, or it gives other scores than when it was saved.
    """
    folder = Path(folder)
    opened, described = open_model(folder, ClassifierDescription, CLASSIFIERS, _spec_of, classifier_class, device)
    bundle = ClassifierBundle(*opened)
    texts, expected = [probe.text for probe in described.probes], [probe.scores for probe in described.probes]
    compare_probes(folder, texts, expected, lambda: bundle.classify(texts).scores_NK)
    return bundle


def _spec_of(values: dict[str, Any]) -> ClassifierSpec:
    spec = classifier_from_dict(values)
    if len(spec.labels) < 2:
        raise ValueError(f"it has {len(spec.labels)} labels")
    return spec
