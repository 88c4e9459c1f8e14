"""The JSON of a model's options, from which digests are made, has stayed as it was when models were first stored."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

import pytest

from models.neural.labelling.spec import LabellingSpec
from models.neural.labelling.spec import to_dict as labelling_to_dict
from models.specs import KINDS, NGramSpec, ObjectiveSpec, RecurrentSpec, TrainingSpec, VocabularySpec, identity, to_dict

NEEDED: dict[str, dict[str, Any]] = {"mixture": {"parts": ("a", "b")}}
EVERYTHING = RecurrentSpec(
    kind="rnn", nonlinearity="relu", cells="reference", tied=False, variational=True, condition_on_stars=False,
    embedding_dropout=0.1, input_dropout=0.2, output_dropout=0.3, weight_drop=0.4,
    layer_norm=True, recurrent_start="identity",
    objective=ObjectiveSpec("adaptive", head=500, chunk=7, cutoffs=(600, 700), shrink=2.0),
    training=TrainingSpec(
        2.0, 8, 20, 40, optimizer="momentum", momentum=0.5, l2=0.1, schedule="linear", clip=None, clip_value=0.5,
        random_window=True, state_reset_prob=0.5, micro_batch=4, ema=0.9, activation_penalty=1.0, temporal_penalty=2.0,
        loss_spike_threshold=3.0, start="champion", final_rate=0.5,
    ),
)  # fmt: skip
"""A model with nearly every option away from its default."""


def short(value: Any) -> str:
    """The digest of a value's JSON, keys in their order."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


DIGESTS: dict[str, Any] = {
    "ngram": "b4efe49eeb85", "rnn": "9a5a0b281f98", "gru": "72b4fe3c3182", "lstm": "04db3d24b745",
    "nplm": "1737388125d6", "mixture": "aa8cb4579e54", "cache": "b296f9ee460d", "neural_cache": "7ae8e5442303",
    "dynamic": "ed26103feeb1", "others": ["19f9ac39956e", "5f6e5018e6e1", "a1137bb96c38"],
    "no models": ["265ded6d6b99", "cc5d6768de6a"],
}  # fmt: skip
"""As written by the code that stored the first models."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_options_of_a_kind_are_written_as_ever(kind: str) -> None:
    assert short(to_dict(KINDS[kind][0](kind=kind, **NEEDED.get(kind, {})))) == DIGESTS[kind]


def test_options_away_from_their_defaults_are_written_as_ever() -> None:
    katz = NGramSpec(smoothing="katz", cut=7, prune=(0, 0, 1), entropy=1e-7)
    assert [short(to_dict(EVERYTHING)), short(identity(EVERYTHING)), short(to_dict(katz))] == DIGESTS["others"]


def test_options_of_vocabularies_and_labellers_are_written_as_ever() -> None:
    assert [short(asdict(VocabularySpec())), short(labelling_to_dict(LabellingSpec()))] == DIGESTS["no models"]
