"""Classifiers whose embedding starts from word vectors."""

from __future__ import annotations

import numpy as np
import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.neural.labelling.rows import Sequences
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.labelling.fitting import fit_classifier
from reviewlm.training.vectors.embedding_rows import vocabulary_rows
from reviewlm.training.vectors.files import make_keyed_vectors, save_vectors
from reviewlm.training.vectors.stored_rows import save_matrix
from tests.models.classification.made_reviews import NOISE, TELLING, small


@pytest.fixture(scope="module")
def rows(words, tmp_path_factory):
    """Vectors in which the two words that tell the same label are equal."""
    folder = tmp_path_factory.mktemp("rows")
    draw = np.random.default_rng(3)
    pairs = np.repeat(draw.normal(size=(len(TELLING), 8)), 2, axis=0)
    names = [word for pair in TELLING for word in pair]
    noise = 0.3 * draw.normal(size=(len(NOISE), 8))
    save_vectors(
        folder / "all", make_keyed_vectors([*names, *NOISE], np.concatenate([pairs, noise]))
    )
    matrix_VD, coverage = vocabulary_rows(folder / "all", words, np.ones(words.size, np.int64))
    assert coverage.missing == ("\n",)
    save_matrix(folder, matrix_VD)
    return folder, matrix_VD


def told_by(
    words,
    which,
    count,
    seed,
):
    """Reviews whose label is told by one of the two words only."""
    draw = np.random.default_rng(seed)
    targets = np.arange(count) % len(TELLING)
    made = []
    for target in targets:
        text = list(draw.choice(NOISE, draw.integers(3, 8)))
        made.append(" ".join([*text, TELLING[target][which]]))
    encoded = words.encode_documents(made, [0] * count, whole=False)
    return LabelledSequences(Sequences(encoded.ids, encoded.offsets), targets)


@pytest.mark.slow
def test_a_label_is_known_by_words_that_no_labelled_review_had(
    words,
    rows,
    tmp_path,
):
    seen, unseen = told_by(words, 0, 60, 1), told_by(words, 1, 60, 2)

    def accuracy(spec, work):
        model = fit_classifier(
            spec,
            words,
            seen,
            seen,
            FitContext(tmp_path / work, vectors=rows[0]),
        ).model
        return (model.answers(model.scores(unseen.sequences)) == unseen.targets).mean()

    assert accuracy(small("gru", vectors="own", freeze_vectors=True), "with") > 0.95
    assert accuracy(small("gru"), "without") < 0.7


def test_vectors_of_another_size_are_refused(
    words,
    rows,
    train,
    held_out,
    tmp_path,
):
    spec = small("gru", vectors="own", embedding=9)
    with pytest.raises(
        ModelError, match="'own' have 8 dimensions, not 9: set embedding = 8"
    ) as refusal:
        fit_classifier(
            spec,
            words,
            train,
            held_out,
            FitContext(tmp_path, vectors=rows[0]),
        )
    assert refusal.value.kind == "input"
