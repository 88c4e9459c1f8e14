"""A recurrent classifier that starts from a language model of the same run."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from models.base import ModelError
from models.bundles.bundle import save_bundle
from models.classification.spec import language_model_of
from models.neural.lm import RecurrentLM
from models.neural.recurrent import RecurrentNetwork
from models.specs import NGramSpec, ObjectiveSpec, RecurrentSpec, VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.special import CONTEXT_IDS
from models.tokens.vocabulary import Vocabulary
from tests.models.classification.made_reviews import RECIPE, small
from training.classification.fitting import fit_classifier
from training.classification.networks import _language_model
from training.context import CHECKPOINTS, FitContext
from training.labelling import trainer
from training.labelling.step import update_once
from training.neural.callbacks import checkpointing
from training.neural.checkpoint import Checkpoints
from training.ngram.counting.counts import count_ngrams
from training.ngram.fit import estimate_ngrams

RECURRENT = RecurrentSpec("lstm", hidden=12, embedding=8, objective=ObjectiveSpec("softmax"))


def bundle(folder, words, spec=RECURRENT):
    torch.manual_seed(5)
    network = RecurrentNetwork(spec, torch.ones(words.size, dtype=torch.int64))
    save_bundle(folder, spec, words, RecurrentLM(spec, network, words.size), [("great", 5)], {})
    return network


def classifier(**options):
    return small("lstm", **{"start": "lm", "training": RECIPE, "rate_decay": 1.2, **options})


@pytest.mark.slow
def test_it_starts_from_the_embedding_and_layers_and_learns(words, train, held_out, tmp_path):
    trained = bundle(tmp_path / "lm", words)
    context = FitContext(tmp_path / "work", parts={"lm": tmp_path / "lm"})
    spec = classifier()
    assert language_model_of(spec) == "lm"
    assert torch.equal(_language_model(spec, words, context).embedding.weight, trained.embedding.weight)
    fitted = fit_classifier(spec, words, train, held_out, context)
    assert fitted.summary["validation/accuracy"] >= 0.9


class Stopped(Exception):
    pass


@pytest.mark.parametrize("pooling", ["concat", "attention"])
@pytest.mark.slow
def test_parts_that_are_still_frozen_are_those_of_the_language_model(
    pooling, words, train, held_out, tmp_path, monkeypatch
):
    """Two and a half epochs, one more part after each, stopped at every half epoch to look at the weights."""
    monkeypatch.setattr(trainer, "REPORT_SECONDS", math.inf)
    trained = bundle(tmp_path / "lm", words)
    start = {f"embedding.{k}": v for k, v in trained.embedding.state_dict().items()}
    start |= {f"encoder.layers.{k}": v for k, v in trained.layers.state_dict().items()}
    spec = classifier(pooling=pooling, training=replace(RECIPE, epochs=2.5, evaluations=5))

    def stop(progress):
        raise Stopped

    context = FitContext(tmp_path / "work", parts={"lm": tmp_path / "lm"}, report=stop)
    equal = []
    for _ in range(5):
        with pytest.raises(Stopped):
            fit_classifier(spec, words, train, held_out, context)
        found = Checkpoints(context.work / CHECKPOINTS).load().tensors
        same = {name for name, weight in start.items() if torch.equal(found[f"network/trunk.{name}"], weight)}
        equal.append({name.partition(".")[0] for name in same})
    assert equal == [{"embedding", "encoder"}] * 2 + [{"embedding"}] * 2 + [set()]
    rates = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    assert rates[0]["learning_rate"] == pytest.approx(spec.training.learning_rate / 32)


def test_new_attention_is_trained_from_the_first_update_with_the_head(words, train, held_out, tmp_path, monkeypatch):
    bundle(tmp_path / "lm", words)
    context = FitContext(tmp_path / "work", parts={"lm": tmp_path / "lm"})
    spec = classifier(pooling="attention", training=replace(RECIPE, epochs=2.5, evaluations=1))

    def one_update(state, *data):
        if state.metrics.updates == 1:
            raise Stopped
        return update_once(state, *data)

    monkeypatch.setattr(trainer, "update_once", one_update)
    monkeypatch.setattr(checkpointing, "CHECKPOINT_SECONDS", -1.0)
    with pytest.raises(Stopped):
        fit_classifier(spec, words, train, held_out, context)
    before, after = (load_file(context.work / CHECKPOINTS / f"0000000{k}.safetensors") for k in (1, 2))
    moved = {name for name in before if name.startswith("network/") and not torch.equal(before[name], after[name])}
    new = ("trunk.attention.hidden.weight", "trunk.attention.hidden.bias", "trunk.attention.score.weight")
    assert moved == {f"network/{name}" for name in (*new, "head.linear.weight", "head.linear.bias")}


def test_a_language_model_that_does_not_fit_is_refused_with_the_reason(words, train, held_out, tmp_path):
    def refusal(spec, **parts):
        with pytest.raises(ModelError) as caught:
            fit_classifier(spec, words, train, held_out, FitContext(tmp_path / "work", parts=parts))
        assert caught.value.kind == "input"
        return str(caught.value)

    bundle(tmp_path / "lm", words)
    assert "there is no fitted model of this name (there is: none)" in refusal(classifier())
    assert "(there is: 'gru')" in refusal(classifier(), gru=tmp_path / "lm")
    sizes = refusal(classifier(hidden=13, embedding=9), lm=tmp_path / "lm")
    assert sizes.endswith("set for the classifier: hidden = 12 (not 13), embedding = 8 (not 9)")
    bundle(tmp_path / "gru", words, replace(RECURRENT, kind="gru"))
    assert "set for the classifier: kind = 'gru' (not 'lstm')" in refusal(classifier(), lm=tmp_path / "gru")
    bundle(tmp_path / "relu", words, replace(RECURRENT, kind="rnn", nonlinearity="relu"))
    assert "set for the classifier: nonlinearity = 'relu' (not 'tanh')" in refusal(
        replace(classifier(), kind="rnn"), lm=tmp_path / "relu"
    )
    other = Vocabulary.train(["other words", "words"], VocabularySpec(min_count=1), NormalForm())
    bundle(tmp_path / "other", other)
    assert "has another vocabulary" in refusal(classifier(), lm=tmp_path / "other")
    counts = count_ngrams(_Stream(train), 2, words.size, CONTEXT_IDS)
    save_bundle(tmp_path / "kn", NGramSpec(order=2), words, estimate_ngrams(counts), [], {})
    assert "of the kind 'ngram'; a classifier can only" in refusal(classifier(), lm=tmp_path / "kn")


class _Stream:
    def __init__(self, examples):
        self.ids, self.offsets = examples.sequences.ids_P, examples.sequences.offsets
