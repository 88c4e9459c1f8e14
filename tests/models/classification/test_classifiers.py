"""Classifiers of every kind: what they learn, what they answer, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from reviewlm.models.base import ModelError
from reviewlm.models.classification.classifier import softmax
from reviewlm.models.neural.labelling.rows import Rows, Sequences
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.examples import LabelledSequences
from reviewlm.training.labelling.fitting import fit_classifier
from tests.marked_cases import long_but, slow_but
from tests.models.classification.made_reviews import MECHANISMS, OPTIONS, examples, small, texts

QUICK = {"logistic", "bayes", "tfidf"}


@pytest.fixture(scope="module")
def fits(
    words,
    train,
    held_out,
    tmp_path_factory,
):
    """A fit of each kind, made when it is asked for."""
    made = {}

    def fit(kind):
        if kind not in made:
            work = tmp_path_factory.mktemp(kind)
            seen = []
            context = FitContext(work, report=seen.append)
            made[kind] = (
                fit_classifier(
                    small(kind),
                    words,
                    train,
                    held_out,
                    context,
                ),
                work,
                seen,
            )
        return made[kind]

    return fit


@pytest.mark.parametrize("kind", slow_but(OPTIONS, QUICK))
def test_every_kind_learns_which_words_tell_the_label(
    kind,
    fits,
    words,
):
    model = fits(kind)[0].model
    test = examples(words, 200, 3)
    scores = model.scores(test.sequences)
    assert scores.shape == (200, 3)
    assert scores.dtype == np.float64
    assert (model.answers(scores) == test.targets).mean() >= 0.9
    probabilities = softmax(model.scores(test.sequences))
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-12)
    assert np.array_equal(probabilities.argmax(1), model.answers(scores))


@pytest.mark.parametrize("kind", slow_but(OPTIONS, QUICK))
def test_answers_depend_neither_on_special_tokens_nor_on_other_reviews_nor_on_the_order(
    kind,
    fits,
    words,
    held_out,
):
    model, stream = fits(kind)[0].model, held_out.sequences
    scores = model.scores(stream)
    plain = words.encode_batch(texts(90, 2)[0])
    np.testing.assert_allclose(model.scores(Rows.of(plain)), scores, atol=1e-5)
    np.testing.assert_allclose(model.scores(Rows.of(plain[::-1])), scores[::-1], atol=1e-5)
    alone = np.concatenate([model.scores(Rows.of([ids])) for ids in plain[:9]])
    np.testing.assert_allclose(alone, scores[:9], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", long_but(OPTIONS, MECHANISMS))
def test_equal_fits_are_equal_to_the_bit(
    kind,
    fits,
    words,
    train,
    held_out,
    tmp_path,
):
    model = fits(kind)[0].model
    again = fit_classifier(
        small(kind),
        words,
        train,
        held_out,
        FitContext(tmp_path),
    ).model
    assert np.array_equal(model.scores(held_out.sequences), again.scores(held_out.sequences))


def test_training_reviews_that_do_not_fit_are_refused(
    words,
    train,
    held_out,
    tmp_path,
):
    def refusal(
        spec=None,
        train=train,
        held_out=held_out,
    ):
        with pytest.raises(ModelError) as caught:
            fit_classifier(
                spec or small("gru"),
                words,
                train,
                held_out,
                FitContext(tmp_path),
            )
        assert caught.value.kind == "input"
        return str(caught.value)

    assert "needs the names of at least two labels" in refusal(small("gru", labels=()))
    wrong = train.targets.copy()
    wrong[7] = 3
    assert "the target of training review 7 is 3; it must be a whole number from 0 to 2" in refusal(
        train=replace(train, targets=wrong)
    )
    assert "the target of validation review 0 is" in refusal(
        held_out=replace(held_out, targets=held_out.targets.astype(float))
    )
    assert "one for each training review is needed" in refusal(
        train=replace(train, targets=np.arange(3))
    )
    few = replace(train, targets=np.minimum(train.targets, 1))
    assert "the label '5' has no training review" in refusal(train=few)
    foreign = LabelledSequences(Sequences.of([[words.size], [9], [9]]), np.arange(3))
    assert f"id {words.size} of sequence 0, position 0 is not in the vocabulary" in refusal(
        train=foreign
    )
