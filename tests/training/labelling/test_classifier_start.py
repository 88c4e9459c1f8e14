"""A recurrent classifier that starts from a language model of the same run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reviewlm.models.base import ModelError
from reviewlm.models.bundles.bundle import save_bundle
from reviewlm.models.neural.architectures import RecurrentNetwork
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.specs import NGramSpec, ObjectiveSpec, RecurrentSpec, VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.context import FitContext
from reviewlm.training.labelling.fitting import fit_classifier
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.vocabularies.learn import learn_vocabulary
from tests.estimated_ngrams import estimate_ngrams
from tests.models.classification.made_reviews import RECIPE, small

RECURRENT = RecurrentSpec(
    "lstm",
    hidden=12,
    embedding=8,
    objective=ObjectiveSpec("softmax"),
)


def bundle(
    folder,
    words,
    spec=RECURRENT,
):
    torch.manual_seed(5)
    network = RecurrentNetwork(spec, torch.ones(words.size, dtype=torch.int64))
    save_bundle(
        folder,
        spec,
        words,
        NeuralLM(spec, network, words.size),
        [("great", 5)],
        {},
    )
    return network


def classifier(**options):
    return small(
        "lstm",
        **{
            "start": "lm",
            "training": RECIPE,
            "rate_decay": 1.2,
            **options,
        },
    )


def test_a_language_model_that_does_not_fit_is_refused_with_the_reason(
    words,
    train,
    held_out,
    tmp_path,
):
    def refusal(spec, **parts):
        with pytest.raises(ModelError) as caught:
            fit_classifier(
                spec,
                words,
                train,
                held_out,
                FitContext(tmp_path / "work", parts=parts),
            )
        assert caught.value.kind == "input"
        return str(caught.value)

    bundle(tmp_path / "lm", words)
    assert "there is no fitted model of this name (there is: none)" in refusal(classifier())
    assert "(there is: 'gru')" in refusal(classifier(), gru=tmp_path / "lm")
    sizes = refusal(classifier(hidden=13, embedding=9), lm=tmp_path / "lm")
    assert sizes.endswith("set for the classifier: hidden = 12 (not 13), embedding = 8 (not 9)")
    bundle(tmp_path / "gru", words, replace(RECURRENT, kind="gru"))
    assert "set for the classifier: kind = 'gru' (not 'lstm')" in refusal(
        classifier(), lm=tmp_path / "gru"
    )
    bundle(tmp_path / "relu", words, replace(RECURRENT, kind="rnn", nonlinearity="relu"))
    assert "set for the classifier: nonlinearity = 'relu' (not 'tanh')" in refusal(
        replace(classifier(), kind="rnn"), lm=tmp_path / "relu"
    )
    other = learn_vocabulary(["other words", "words"], VocabularySpec(min_count=1), NormalForm())
    bundle(tmp_path / "other", other)
    assert "has another vocabulary" in refusal(classifier(), lm=tmp_path / "other")
    counts = count_ngrams(_Stream(train), 2, words.size, CONTEXT_IDS)
    save_bundle(
        tmp_path / "kn",
        NGramSpec(order=2),
        words,
        estimate_ngrams(counts),
        [],
        {},
    )
    assert "of the kind 'ngram'; a classifier can only" in refusal(classifier(), lm=tmp_path / "kn")


class _Stream:
    def __init__(self, examples):
        self.ids, self.offsets = examples.sequences.ids_P, examples.sequences.offsets
