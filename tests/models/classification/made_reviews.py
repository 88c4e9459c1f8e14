"""Reviews of a made language in which some words tell the label, and small classifiers that learn them quickly."""

from __future__ import annotations

import numpy as np

from reviewlm.models.classification.spec import CLASSIFIERS, ClassifierSpec
from reviewlm.models.neural.labelling.rows import Sequences
from reviewlm.models.specs import TrainingSpec, VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.vocabularies.learn import learn_vocabulary

LABELS = ("1", "3", "5")
TELLING = (("awful", "rude"), ("plain", "average"), ("great", "lovely"))
NOISE = [a + b for a in ("ta", "ru", "lo", "mi") for b in ("ne", "ko", "sa", "vi", "po")]
RECIPE = TrainingSpec(
    epochs=8,
    batch=8,
    learning_rate=2e-2,
    evaluations=4,
    precision="float32",
)
OPTIONS: dict[str, dict[str, object]] = {
    "logistic": {"min_reviews": 1},
    "bayes": {"min_reviews": 1},
    "tfidf": {
        "min_reviews": 1,
        "hidden": 8,
        "batch": 16,
        "strengths": (2e-2,),
    },
    "rnn": {
        "hidden": 12,
        "embedding": 8,
        "dropout": 0.1,
        "training": RECIPE,
    },
    "gru": {
        "hidden": 12,
        "embedding": 8,
        "dropout": 0.1,
        "training": RECIPE,
    },
    "lstm": {
        "hidden": 12,
        "embedding": 8,
        "dropout": 0.1,
        "training": RECIPE,
    },
}
MECHANISMS = {"logistic", "bayes", "tfidf", "gru"}
"""Kinds of which none is another one with a simpler cell."""


def small(kind: str, **changes: object) -> ClassifierSpec:
    """A small classifier of a kind, with its labels."""
    return CLASSIFIERS[kind][0](
        **{
            "kind": kind,
            "labels": LABELS,
            **OPTIONS[kind],
            **changes,
        }
    )


def texts(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Reviews of 3 to 12 words, one of which tells the label, and the numbers of the labels."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, len(LABELS), count)
    made = []
    for target in targets:
        words = list(draw.choice(NOISE, draw.integers(3, 13)))
        words[draw.integers(len(words))] = TELLING[target][draw.integers(2)]
        made.append(" ".join(words))
    return made, targets


def vocabulary() -> Vocabulary:
    """The words of the made language."""
    return learn_vocabulary(texts(400, 1)[0], VocabularySpec(min_count=1), NormalForm())


def examples(
    words: Vocabulary,
    count: int,
    seed: int,
) -> LabelledSequences:
    """Labelled reviews as streams have them: `<bos> <stars_k> text <eos>`, the stars those of the label."""
    made, targets = texts(count, seed)
    stars = [int(LABELS[target]) for target in targets]
    encoded = words.encode_documents(made, stars, whole=False)
    return LabelledSequences(Sequences(encoded.ids, encoded.offsets), targets)
