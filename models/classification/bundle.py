"""Save and load a classifier with everything that is needed to use it, as a folder (`bundles/sealed_folder.py`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from ..base import ModelError
from ..bundles.bundle import script_warnings
from ..bundles.description import Description, Finite
from ..bundles.sealed_folder import compare_probes, open_model, write_model
from ..neural.labelling.rows import Rows
from ..options import to_plain_values
from ..text.given import given_texts
from ..tokens.special import UNK
from ..tokens.vocabulary import Vocabulary
from .classifier import Classifier, softmax
from .spec import CLASSIFIERS, ClassifierSpec, classifier_class, classifier_from_dict

TASK = "classification"
"""Value of "task" in the description, which tells the bundle from that of a language model."""
READABLE = 0.5
"""Share of known words below which a text is warned of. Of 2,000 reviews of Yelp, 0 to 2 were below it, with 8,000 and
500 training reviews."""


class Classified(NamedTuple):
    """Answers to N texts.

    Attributes:
        answers_N: Number of the label of each text (int64).
        scores_NK: Score of each label (float64); the highest is the answer's.
        probabilities_NK: Probability of each label (float64).
        known_N: Share of each text's words that the vocabulary has (float64); 0 for a text without tokens.
    """

    answers_N: np.ndarray
    scores_NK: np.ndarray
    probabilities_NK: np.ndarray
    known_N: np.ndarray

    def answer(self, labels: Sequence[str], row: int) -> dict[str, Any]:
        """Return one text's label, the probability of every label, and the share of known words, as JSON values."""
        number = int(self.answers_N[row])
        chances = [float(chance) for chance in self.probabilities_NK[row]]
        every = dict(zip(labels, chances, strict=True))
        return {
            "label": labels[number],
            "probability": chances[number],
            "probabilities": every,
            "known_words": float(self.known_N[row]),
        }


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

        A text without tokens gets the shares of the labels in training. Of a text longer than `classifier.LONGEST_TEXT`
        tokens, a network reads only the beginning.

        Raises:
            ModelError: kind "input": *texts* is no list of texts, see `given_texts`.
        """
        texts = given_texts(texts)
        if not texts:
            nothing: np.ndarray = np.zeros((0, len(self.labels)))
            return Classified(np.zeros(0, np.int64), nothing, nothing, np.zeros(0))

        encoded = self.vocabulary.encode_batch(
            [self.vocabulary.normal_form.apply(text) for text in texts]
        )
        scores_NK = self.model.scores(Rows.of(encoded))
        known_N = np.array([*map(self._known_share, encoded)])
        return Classified(self.model.answers(scores_NK), scores_NK, softmax(scores_NK), known_N)

    def _known_share(self, ids: np.ndarray) -> float:
        """Return the share of known words among the tokens of a text; unknown signs count as unknown words."""
        unit = self.vocabulary.word_unit
        unknown = np.count_nonzero(ids == UNK)
        if unit:
            known = np.count_nonzero(unit.is_word_V[ids])
        else:
            known = len(ids) - unknown

        if known + unknown:
            return known / (known + unknown)
        return float(len(ids) > 0)

    def warnings(
        self,
        texts: Sequence[str],
        classified: Classified,
        names: Sequence[str],
    ) -> list[str]:
        """Return sentences about texts that the classifier cannot read, whose labels are confident all the same.

        Args:
            texts: The texts.
            classified: Their answers.
            names: What each is called, such as "line 4".
        """
        unread = [names[row] for row in np.flatnonzero(classified.known_N < READABLE).tolist()]
        listed = ", ".join(unread[:10]) + (
            f" and {len(unread) - 10:,} more" if len(unread) > 10 else ""
        )
        sentence = f"The model knows no word, or less than half of them, of {listed}: the label there says little."
        return [
            *script_warnings(self.vocabulary, "\n".join(texts)),
            *([sentence] if unread else []),
        ]


def save_classifier(
    folder: Path | str,
    spec: ClassifierSpec,
    vocabulary: Vocabulary,
    model: Classifier,
    probes: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
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
        raise ModelError(
            "the classifier's score of a probe text is not a finite number", "diverged"
        )

    rows = [
        {"text": text, "scores": row} for text, row in zip(probes, scores_NK.tolist(), strict=True)
    ]
    values = {
        **facts,
        "task": TASK,
        "kind": spec.kind,
        "spec": to_plain_values(spec),
        "probes": rows,
    }
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
    opened, described = open_model(
        folder,
        ClassifierDescription,
        CLASSIFIERS,
        _spec_of,
        classifier_class,
        device,
    )
    bundle = ClassifierBundle(*opened)
    texts = [probe.text for probe in described.probes]
    expected = [probe.scores for probe in described.probes]
    compare_probes(folder, texts, expected, lambda: bundle.classify(texts).scores_NK)
    return bundle


def _spec_of(values: dict[str, Any]) -> ClassifierSpec:
    spec = classifier_from_dict(values)
    if len(spec.labels) < 2:
        raise ValueError(f"it has {len(spec.labels)} labels")
    return spec
