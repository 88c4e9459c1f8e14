"""A recurrent classifier that starts from a language model of the same run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from made_reviews import RECIPE, small

from models.base import FitContext, ModelError
from models.bundles.bundle import save_bundle
from models.classification.fitting import fit_classifier
from models.classification.network import _language_model
from models.classification.spec import language_model_of
from models.neural.recurrent import RecurrentLM, RecurrentNetwork
from models.ngram.counting.counts import count_ngrams
from models.ngram.lm import NGramLM
from models.specs import NGramSpec, ObjectiveSpec, RecurrentSpec, VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import CONTEXT_IDS, Vocabulary

RECURRENT = RecurrentSpec("lstm", hidden=12, embedding=8, objective=ObjectiveSpec("softmax"))


def bundle(folder, words, spec=RECURRENT):
    torch.manual_seed(5)
    network = RecurrentNetwork(spec, torch.ones(words.size, dtype=torch.int64))
    save_bundle(folder, spec, words, RecurrentLM(spec, network, words.size), [("great", 5)], {})
    return network


def classifier(**options):
    return small("lstm", **{"start": "lm", "training": RECIPE, "rate_decay": 1.2, **options})


def test_it_starts_from_the_embedding_and_layers_and_learns(words, train, held_out, tmp_path):
    trained = bundle(tmp_path / "lm", words)
    context = FitContext(tmp_path / "work", parts={"lm": tmp_path / "lm"})
    spec = classifier()
    assert language_model_of(spec) == "lm"
    assert torch.equal(_language_model(spec, words, context).embedding.weight, trained.embedding.weight)
    fitted = fit_classifier(spec, words, train, held_out, context)
    assert fitted.summary["validation/accuracy"] >= 0.9


def test_parts_that_are_still_frozen_are_those_of_the_language_model(words, train, held_out, tmp_path):
    """Two and a half epochs, one more part after each: the embedding is trained in the last half epoch."""
    trained = bundle(tmp_path / "lm", words)
    context = FitContext(tmp_path / "work", parts={"lm": tmp_path / "lm"})
    short = replace(RECIPE, epochs=2.5, evaluations=1)
    model = fit_classifier(classifier(training=short), words, train, held_out, context).model
    moved = (model.labeller.network.trunk.embedding.weight - trained.embedding.weight).abs().max()
    assert 0 < float(moved) < 0.5
    assert json.loads((tmp_path / "work" / "metrics.jsonl").read_text().splitlines()[0])["learning_rate"] == (
        pytest.approx(short.learning_rate / 32)
    )


def test_a_language_model_that_does_not_fit_is_refused_with_the_reason(words, train, held_out, tmp_path):
    def refusal(spec, **parts):
        with pytest.raises(ModelError) as caught:
            fit_classifier(spec, words, train, held_out, FitContext(tmp_path / "work", parts=parts))
        assert caught.value.kind == "input"
        return str(caught.value)

    bundle(tmp_path / "lm", words)
    assert "there is no fitted model of this name (there is: none)" in refusal(classifier())
    assert "(there is: 'gru')" in refusal(classifier(), gru=tmp_path / "lm")
    assert "layers of the language model" in refusal(classifier(hidden=13), lm=tmp_path / "lm")
    assert "embedding of the language model" in refusal(classifier(embedding=9), lm=tmp_path / "lm")
    gru = RecurrentSpec("gru", hidden=12, embedding=8, objective=ObjectiveSpec("softmax"))
    bundle(tmp_path / "gru", words, gru)
    assert "of the kind 'gru'; a classifier of the kind 'lstm'" in refusal(classifier(), lm=tmp_path / "gru")
    other = Vocabulary.train(["other words", "words"], VocabularySpec(min_count=1), NormalForm())
    bundle(tmp_path / "other", other)
    assert "has another vocabulary" in refusal(classifier(), lm=tmp_path / "other")
    counts = count_ngrams(_Stream(train), 2, words.size, CONTEXT_IDS)
    save_bundle(tmp_path / "kn", NGramSpec(order=2), words, NGramLM.from_counts(counts), [], {})
    assert "of the kind 'ngram'" in refusal(classifier(), lm=tmp_path / "kn")


class _Stream:
    def __init__(self, examples):
        self.ids, self.offsets = examples.sequences.ids_P, examples.sequences.offsets
