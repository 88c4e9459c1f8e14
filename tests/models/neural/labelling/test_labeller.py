"""A fitted classifier or tagger: its answers, and the folder that it is kept in."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.base import ModelError
from models.neural.labelling.labeller import Labeller
from models.neural.labelling.network import LabellingNetwork
from tests.models.neural.labelling.made_labels import QUICK, V, next_word_tags, reviews
from training.labelling.labeller_fit import fit


@pytest.fixture(scope="module")
def fitted():
    data = next_word_tags(150, 1)
    return fit(replace(QUICK, bidirectional=True, task="tagging"), V, data, data, vocabulary_digest="words").model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "hinge", "bidirectional": True, "layers": 2},
        {"loss": "squared_error", "labels": ()},
        {"kind": "gru", "cells": "reference", "form": "cho", "layer_norm": True, "task": "tagging"},
    ],
)
def test_what_is_opened_answers_as_what_was_kept(options, tmp_path):
    spec = replace(QUICK, **options)
    torch.manual_seed(3)
    kept = Labeller(spec, LabellingNetwork(spec, V, np.zeros(0, np.float64 if spec.numbers else np.int64)), "words")
    kept.save(tmp_path / "model")
    opened, sequences = Labeller.load(tmp_path / "model", "words"), reviews(20, 2, 1).sequences
    assert (opened.spec, opened.entries, opened.vocabulary_digest) == (spec, V, "words")
    assert np.array_equal(opened.scores(sequences), kept.scores(sequences))


def test_a_folder_that_cannot_be_opened_says_why(fitted, tmp_path):
    folder = tmp_path / "model"
    fitted.save(folder)
    with pytest.raises(ModelError, match="trained with vocabulary 'words', not 'characters'"):
        Labeller.load(folder, "characters")
    values = json.loads((folder / "labeller.json").read_text())

    def written(**changes):
        (folder / "labeller.json").write_text(json.dumps(values | changes))

    for changes, complaint in (
        ({"format": 2}, "format 2; this version"),
        ({"entries": V + 1}, "embedding.weight"),
        ({"spec": values["spec"] | {"beam": 3}}, "no option 'beam' in this version"),
        ({"spec": values["spec"] | {"loss": "zero_one"}}, "gradient is 0"),
    ):
        written(**changes)
        with pytest.raises(ModelError, match=complaint) as caught:
            Labeller.load(folder)
        assert caught.value.kind == "bundle"
    written()
    raw = bytearray((folder / "weights.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(raw)
    with pytest.raises(ModelError, match="damaged"):
        Labeller.load(folder)
    (folder / "labeller.json").unlink()
    with pytest.raises(ModelError, match="not a valid classifier or tagger"):
        Labeller.load(folder)
