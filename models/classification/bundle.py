"""Save and load a classifier as a folder of data: options, labels, vocabulary, weights or tables. No code, no pickles.

`spec.json` is written last and lists the SHA-256 of every other file, so its own hash identifies the whole
bundle. It also has probe texts with the classifier's scores, which are computed again on load. If this version of the
package gives other scores, the bundle is refused, so that a classifier cannot change silently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..base import ModelError, stored
from ..bundles.bundle import PROBE_TOLERANCE, SPEC
from ..bundles.bundle_form import are_files, is_number, is_text, is_version, require_fields
from ..bundles.sealed_folder import read_description, seal, verify_files
from ..neural.labelling.rows import Rows
from ..tokens.vocabulary import FILE, Vocabulary
from .classifier import Classifier, softmax
from .spec import CLASSIFIERS, ClassifierSpec, classifier_class, classifier_from_dict, to_dict

FORMAT = 1
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
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPEC).unlink(missing_ok=True)
    vocabulary.save(folder / FILE)
    model.save(folder)
    scores_NK = ClassifierBundle(spec, vocabulary, model).classify(probes).scores_NK
    if not np.isfinite(scores_NK).all():
        raise ModelError("the classifier's score of a probe text is not a finite number", "diverged")
    values = {
        **facts,
        "format": FORMAT,
        "task": TASK,
        "kind": spec.kind,
        "spec": to_dict(spec),
        "vocabulary_digest": vocabulary.digest,
        "probes": [{"text": text, "scores": row} for text, row in zip(probes, scores_NK.tolist(), strict=True)],
    }
    seal(folder, SPEC, values)


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
    raw, values = read_description(folder, SPEC, {"format": FORMAT}, _require_form)
    verify_files(folder, {FILE: "", **values["files"]})
    vocabulary = Vocabulary.load(folder / FILE)
    if vocabulary.digest != values["vocabulary_digest"]:
        what = f"the bundle {folder} was trained with vocabulary {values['vocabulary_digest']}"
        raise ModelError(f"{what}, but holds {vocabulary.digest}", "bundle")
    with stored(f"the classifier of bundle {folder}"):
        spec = classifier_from_dict(values["spec"])
        if len(spec.labels) < 2:
            raise ValueError(f"it has {len(spec.labels)} labels")
        model = classifier_class(spec.kind).load(folder, spec, vocabulary, device)
    facts = {key: value for key, value in values.items() if key not in _FIELDS}
    bundle = ClassifierBundle(spec, vocabulary, model, facts, hashlib.sha256(raw).hexdigest())
    with stored(f"the classifier of bundle {folder}, asked for its probes,"):
        _check_probes(bundle, values["probes"], folder)
    return bundle


def _check_probes(bundle: ClassifierBundle, probes: Sequence[Mapping[str, Any]], folder: Path) -> None:
    found_NK = bundle.classify([probe["text"] for probe in probes]).scores_NK
    for probe, found_K in zip(probes, found_NK, strict=True):
        expected_K = np.array(probe["scores"])
        same = expected_K.shape == found_K.shape and np.allclose(found_K, expected_K, PROBE_TOLERANCE, PROBE_TOLERANCE)
        if not same:
            difference = f"{np.round(found_K, 6).tolist()} instead of {np.round(expected_K, 6).tolist()}"
            what = f"the bundle {folder} answers differently from when it was saved: scores {difference}"
            raise ModelError(f"{what} for the probe {probe['text'][:60]!r}", "bundle")


def _are_probes(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(probe, dict) and isinstance(probe.get("text"), str) and isinstance(probe.get("scores"), list)
        and all(is_number(score) for score in probe["scores"])
        for probe in value
    )  # fmt: skip


_FIELDS = {
    "format": (is_version, "a whole number from 1 on"),
    "task": (lambda task: task == TASK, f"{TASK!r}; the bundle of a language model has none"),
    "kind": (is_text, "text"),
    "spec": (lambda spec: isinstance(spec, dict), "an object: the options of the classifier"),
    "vocabulary_digest": (is_text, "text"),
    "probes": (_are_probes, "objects with 'text' and 'scores' (numbers)"),
    "files": (are_files, "an object: names of files inside the bundle, each with its SHA-256"),
}


def _require_form(values: Any) -> None:
    """Raise ValueError that names the field, unless *values* describes a classifier of a known kind."""
    require_fields(values, _FIELDS, CLASSIFIERS)
