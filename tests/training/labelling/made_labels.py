"""Labelled sequences of random words, and small networks that learn them in a second or two."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from reviewlm.models.classification.spec import RecurrentClassifierSpec
from reviewlm.models.neural.labelling.spec import TaggingSpec
from reviewlm.models.neural.output import NOT_SCORED
from reviewlm.models.specs import TrainingSpec
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.labelling.labeller_fit import fit

V = 40
NOISE = 20
"""Words from 9 on that mean nothing; those above decide."""
DECIDES = 9 + NOISE
TRAINING = TrainingSpec(
    epochs=3,
    batch=32,
    learning_rate=1e-2,
    evaluations=3,
    precision="float32",
)
OPTIONS = {
    "kind": "gru",
    "hidden": 24,
    "embedding": 16,
    "dropout": 0.0,
    "training": TRAINING,
}
SMALL = RecurrentClassifierSpec(labels=("negative", "positive"), **OPTIONS)
QUICK = replace(SMALL, training=replace(TRAINING, epochs=1, evaluations=2), dropout=0.2)
TAGS = TaggingSpec(labels=("odd", "even"), **OPTIONS)
QUICK_TAGS = replace(TAGS, training=QUICK.training, dropout=0.2)


def fitted(
    spec,
    train,
    validation,
    work=None,
    device="cpu",
    report=lambda progress: None,
    **options,
):
    """Train, in a folder of its own unless one is given."""
    with TemporaryDirectory() as folder:
        return fit(
            spec,
            V,
            train,
            validation,
            FitContext(Path(work or folder), device, 1, report),
            **options,
        )


def reviews(
    count,
    labels,
    seed,
    longest=14,
):
    """Noise of 4 to *longest* words; one word anywhere in it, DECIDES + label, is all that tells the label."""
    draw = np.random.default_rng(seed)
    targets = draw.integers(0, labels, count)
    texts = []
    for target in targets:
        text = draw.integers(9, DECIDES, draw.integers(4, longest + 1))
        text[draw.integers(len(text))] = DECIDES + target
        texts.append(text)
    return LabelledSequences.of(texts, targets)


def next_word_tags(count, seed):
    """Whether the next word is an even one: known to who has read further. Of the last word nothing is asked."""
    draw = np.random.default_rng(seed)
    texts = [draw.integers(9, DECIDES, draw.integers(3, 11)) for _ in range(count)]
    return LabelledSequences.of(texts, [[*(text[1:] % 2).tolist(), NOT_SCORED] for text in texts])
