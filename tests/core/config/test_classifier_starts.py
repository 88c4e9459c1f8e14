"""A classifier that cannot start from the language model that it names is refused before anything is fitted."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from core.config.run_config import RunConfig

MODEL = {"kind": "gru", "name": "lm", "layers": 2, "hidden": 24, "embedding": 16}


def configured(classifier: dict[str, object], **model: object) -> RunConfig:
    spec = {"kind": "gru", "name": "stars", "start": "lm", "layers": 2, "hidden": 24, "embedding": 16}
    ngram = {"kind": "ngram", "name": "kn5"}
    section = {"models": [{**spec, **classifier}], "baseline": "stars"}
    return RunConfig(models=[ngram, MODEL | model], classification=section)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("classifier", "model", "wanted"),
    [
        ({"hidden": 128, "embedding": 128}, {}, r"hidden = 24 \(not 128\), embedding = 16 \(not 128\)"),
        ({"layers": 1}, {}, r"layers = 2 \(not 1\)"),
        ({"kind": "lstm"}, {}, r"kind = 'gru' \(not 'lstm'\)"),
        ({}, {"form": "cho", "cells": "reference"}, r"form = 'cho' \(not 'cudnn'\)"),
        ({"layer_norm": True, "cells": "reference"}, {}, r"layer_norm = False \(not True\)"),
        ({"kind": "rnn"}, {"kind": "rnn", "nonlinearity": "relu"}, r"nonlinearity = 'relu' \(not 'tanh'\)"),
    ],
    ids=["sizes", "layers", "kind", "form", "layer norm", "nonlinearity"],
)
def test_another_form_is_refused_with_the_options_to_set(
    classifier: dict[str, object], model: dict[str, object], wanted: str
) -> None:
    told = f"'stars' starts from 'lm', whose network has other options; set .*: {wanted}"
    with pytest.raises(ValidationError, match=told):
        configured(classifier, **model)
